/* Take-over against commit (semantics 5 and 7): what a fence is for, and what it is not for. A node plans, begins the
 * attempt, calls the provider, records the result. It may die or be frozen between any two steps; another believes
 * it dead, ends its lease, calls `unknown` what it finds begun, and goes on from the rows.
 *   (a) of what was decided from the same rows one thing is written, whoever has a lease;
 *   (b) a batch that began after the take-over was committed writes nothing, so that a take-over repeats a call once;
 *   (c) a provider is called for attempts that were committed before, once for each;
 *   (d) nothing is lost: in the end the provider was called.
 * NO_FENCE (asks no lease) breaks (b), and nothing else: with TRUTH_ONLY, which leaves (b) out, no error is found.
 * NO_REVISION breaks (a), CALL_FIRST (and writes the attempt afterwards) (c). ONE_CALL promises at most one call, which
 * nothing can keep, and is found out. */

mtype = {plan, give_up, begin};
byte step;                              /* what is committed: 0 waits, 1 a message is planned, 2 it was sent */
byte revision, attempts, plans, calls;
bool under_way, ended, locked;          /* no result yet; the first node's lease has ended; the run's row */

inline batch(want) {                    /* ask the lease, lock, guard and write: each a statement */
    late = (me == 1 && ended);
    atomic { !locked -> locked = true };
    passed = true;
#ifndef NO_FENCE
    passed = !late;
#endif
#ifndef NO_REVISION
    passed = passed && revision == rev;
#endif
    atomic {                                            /* commit */
        if
        :: passed ->
#ifndef TRUTH_ONLY
            assert(!late && attempts <= 2);             /* (b) */
#endif
            if
            :: want == plan -> plans++; step = 1; assert(plans == 1)    /* (a) */
            :: want == begin -> attempts++; under_way = true; mine = attempts
            :: want == give_up -> under_way = false
            fi;
            revision++
        :: else
        fi;
        locked = false
    }
}

inline call() {
    atomic { calls++; assert(calls <= attempts) };      /* (c) */
#ifdef ONE_CALL
    assert(calls <= 1);
#endif
}

inline perhaps_die() { if :: me == 1 -> goto dead :: true fi }

proctype node(byte me) {
    byte rev, at, mine; bool late, passed, open;
    do
    :: atomic { rev = revision; at = step; open = under_way };          /* load: one statement */
       perhaps_die();
       if
       :: at == 0 -> batch(plan)
       :: at == 1 && open -> if :: me == 2 -> batch(give_up) :: else -> break fi
       :: at == 1 && !open && attempts < 4 ->
#ifdef CALL_FIRST
            call();
#endif
            batch(begin); perhaps_die();
            if
            :: passed ->
#ifndef CALL_FIRST
                call(); perhaps_die();
#endif
                atomic { !locked;       /* its result, unless somebody has given it up: no lease is asked */
                    if :: under_way && attempts == mine -> step = 2; under_way = false; revision++ :: else fi }
            :: else
            fi
       :: else -> assert(calls >= 1); break                             /* (d) */
       fi
    od;
dead: skip
}

init { run node(1); ended = true; run node(2) }         /* the take-over's commit, at any moment */
