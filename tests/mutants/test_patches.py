"""Each promise's patch applies, its test is there, and the page says what the last run of each found."""

import pytest

from mutants.catalogue import ROOT, Mutant, has_test, mutants
from mutants.page import PAGE, SUBJECTS, page_with_promises, results

AGAIN = 'run `make mutants` (ARGS="its name" for one alone)'


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.name)
def test_a_patch_applies_and_names_a_test_that_is_there(mutant: Mutant) -> None:
    """What it takes out stands in the tree just once, and something else comes in its place."""
    changed = mutant.applied(ROOT)
    assert all(text != (ROOT / path).read_text("utf-8") for path, text in changed.items())
    assert all(path == "schema.sql" or path.startswith("runtime/chimeway/") for path in changed)
    assert has_test(mutant), mutant.test
    assert mutant.subject in SUBJECTS


def test_no_two_promises_are_the_same() -> None:
    """Nor do two patches take out the same."""
    told = [mutant.promise for mutant in mutants()]
    assert len(set(told)) == len(told)
    assert all(promise.endswith(".") for promise in told)
    assert len({mutant.hunks for mutant in mutants()}) == len(told) >= 35


def test_every_mutant_was_caught() -> None:
    """The last run of each was of the patch as it is now, and its test failed."""
    wanted = {mutant.name: {"answer": "caught", "patch": mutant.digest} for mutant in mutants()}
    assert results() == wanted, AGAIN


def test_the_page_says_what_was_found() -> None:
    """The page of promises is the one that the patches and the results make."""
    assert PAGE.read_text("utf-8") == page_with_promises(), AGAIN
