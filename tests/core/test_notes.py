"""Notes on arrays within one call: they belong to one array object, and are gone when the call is."""

import threading

import jax.numpy as jnp
import numpy as np

from cenote.core import annotate, annotation, collecting
from cenote.core.notes import add_loss, find_symbolic, graph_function

A, B = jnp.arange(3.0), jnp.arange(3.0)


def test_a_note_belongs_to_one_array_and_ends_with_the_call():
    with collecting():
        assert annotate(A, "mask", "yes") is A
        assert annotation(A, "mask") == "yes" and annotation(B, "mask") is None and annotation(A, "logits") is None
        annotate(A, "mask", None)  # nothing to say changes nothing
        assert annotation(A, "mask") == "yes"
    assert annotation(A, "mask") is None
    assert annotate(A, "mask", "lost") is A and annotation(A, "mask") is None  # outside a call nothing is kept


def test_an_inner_block_shares_the_table_unless_it_wants_its_own():
    with collecting() as outer:
        annotate(A, "mask", 1)
        with collecting() as same:
            assert same is outer and annotation(A, "mask") == 1
        with collecting(fresh=True):
            assert annotation(A, "mask") is None
            annotate(A, "mask", 2)
            add_loss(5.0)
        assert annotation(A, "mask") == 1 and outer.losses == []


def test_a_dead_array_passes_its_notes_to_nobody():
    with collecting():
        for i in range(200):  # ids are given to new objects once the old ones are gone
            array = np.zeros(1)
            assert annotation(array, "number") is None
            annotate(array, "number", i)
            del array


def test_another_thread_has_its_own_notes():
    seen = []
    with collecting():
        annotate(A, "mask", 1)
        thread = threading.Thread(target=lambda: seen.append(annotation(A, "mask")))
        thread.start()
        thread.join()
    assert seen == [None]


def test_losses_are_kept_in_order():
    with collecting() as table:
        add_loss(1)
        add_loss(2)
    assert table.losses == [1, 2]
    add_loss(3)
    assert table.losses == [1, 2]


def test_functions_of_arrays_stay_functions_of_arrays():
    @graph_function
    def double(x):
        """Twice."""
        return 2 * x

    assert double(4) == 8 and double.__name__ == "double" and double.__doc__ == "Twice."
    assert find_symbolic(([1, {"a": (2,)}], "text")) is None
