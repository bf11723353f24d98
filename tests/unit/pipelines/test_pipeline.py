import pytest

from proxy.pipelines.pipeline import Step, StepKind, listed, plain


def test_a_step_is_called_by_its_label_then_its_key() -> None:
    """And by its number where it has neither."""
    step = Step(id="step-1", kind=StepKind.COMMAND, path=(), file="x")
    assert step.name == "step-1"
    assert Step(id="k", kind=StepKind.COMMAND, path=(), file="x", key="k").name == "k"
    assert Step(id="k", kind=StepKind.COMMAND, path=(), file="x", key="k", label="L").name == "L"


@pytest.mark.parametrize("value, text", [(True, "true"), (None, ""), (1, "1"), ("x", "x"), (1.5, "1.5")])
def test_values_are_written_as_in_yaml(value: object, text: str) -> None:
    assert plain(value) == text


def test_one_stands_for_a_list_of_one() -> None:
    assert (listed(None), listed("a"), listed(["a"])) == ([], ["a"], ["a"])
