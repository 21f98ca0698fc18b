/* Signal against timer (semantics 5 and 6), in READ COMMITTED: each statement of a transaction looks at what was
 * committed when it began; only a row that it locks it sees as that is once it has the lock. A run's time has come,
 * a person reads at any moment, two nodes decide from what they have loaded, and write through one door.
 *   (a) no wait elapses whose signal was committed before the decision had its lock;
 *   (b) no attempt is begun of a message whose signal was committed before the sender had its lock;
 *   (c) no provider is called for a message if its signal was committed before it was planned;
 *   (d) one message is planned, by a run that was waiting, and begun once.
 * GUARD_IN_LOCK (looks in the locking statement) breaks (a), BLIND_SENDER (looks at no signal) (b), and NO_REVISION
 * (writes what was decided from older rows) (d). */

mtype = {waiting, planned, begun, stopped};
mtype state = waiting;                  /* what is committed: the run's row, */
byte revision, mailbox;
bool said;                              /* and that of the signal */
bool locked, said_when_planned;
byte plans, begins;

inline door(want) {                     /* lock, route, guard, write: each a statement */
    snapshot = said;                                    /* the locking statement begins, */
    atomic { !locked -> locked = true; at_lock = said } /* and has the lock (or was `busy`, and came again) */
#ifndef GUARD_IN_LOCK
    snapshot = said;                                    /* the next statement begins: a younger snapshot */
#endif
    routed = (snapshot || mailbox > 0 -> 1 : 0);
    passed = (routed == mail);
#ifdef BLIND_SENDER
    passed = passed || want == begun;
#endif
#ifndef NO_REVISION
    passed = passed && revision == rev;
#endif
    atomic {                                            /* commit */
        mailbox = routed;
        if
        :: passed ->
            assert(want != planned || !at_lock);        /* (a) */
            assert(want != begun || !at_lock);          /* (b) */
            if
            :: want == planned -> plans++; said_when_planned = said; assert(state == waiting)
            :: want == begun -> begins++
            :: want == stopped
            fi;
            assert(plans <= 1 && begins <= 1);          /* (d) */
            state = want; revision++
        :: else
        fi;
        locked = false
    }
}

active [2] proctype node() {
    mtype seen; byte rev, mail, routed; bool snapshot, at_lock, passed;
    do
    :: atomic { seen = state; rev = revision; mail = mailbox };         /* load: one statement */
       if
       :: (seen == waiting || seen == planned) && mail > 0 -> door(stopped)
       :: seen == waiting && mail == 0 -> door(planned)
       :: seen == planned && mail == 0 -> door(begun);
          if :: passed -> assert(!said_when_planned) :: else fi         /* (c): now the provider is called */
       :: else -> break
       fi
    od
}

active proctype person() { said = true }
