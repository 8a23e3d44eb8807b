"""Order in every phrasing: the groups are ZSTE's, and so are the answers where it asks in the same words."""

import pytest

from teminal_hf.clips.sources import sound_bank
from teminal_hf.data.captions import CONNECTIVES, caption
from teminal_hf.data.rendering import RenderSettings
from teminal_hf.data.zste_items import plan_wordings
from teminal_hf.evaluation.evaluator import ZsteEvaluator
from teminal_hf.evaluation.report import wordings_table
from teminal_hf.models.checkpoint import load_clap
from teminal_hf.models.embed import ClapEncoder


@pytest.fixture(scope="module")
def clips():
    return sound_bank(2).in_folds([4]).usable(16_000)


def test_every_group_is_asked_in_every_phrasing(clips) -> None:
    items = plan_wordings(clips, n_groups=5, seed=3)
    label = dict(zip(clips.ids, clips.labels, strict=True))
    assert [item.wording for item in items] == [*CONNECTIVES] * 5
    for item in items:
        a, b = label[item.clip_a], label[item.clip_b]
        (right,) = item.right
        if CONNECTIVES[item.wording].relation == "sequence":
            assert (item.task, item.views) == ("3O", ("forward",))
            assert item.candidates[right] == caption(item.wording, a, b)
            assert {*item.candidates} == {caption(item.wording, *pair) for pair in ((a, b), (b, a))}
        else:
            assert (item.task, item.views) == ("3B", ("overlay",))
            assert item.candidates[right] in [caption(item.wording, *pair) for pair in ((a, b), (b, a))]
            assert {*item.candidates} > {caption("before", a, b), caption("before", b, a)} and len(item.candidates) == 3


def test_the_answers_are_those_of_the_task_where_its_words_are(clips) -> None:
    model = ClapEncoder(*load_clap("clap-mini"))
    settings = RenderSettings.of(model)
    asked = ZsteEvaluator(clips, settings, n_groups=8, tasks=["3O"])
    answers = [right for _, _, right in asked(model).items]
    evaluator = ZsteEvaluator(clips, settings, items=plan_wordings(clips, n_groups=8))
    report = evaluator(model)
    told = {
        (item.clip_a, item.wording): right for item, (_, _, right) in zip(evaluator.items, report.items, strict=True)
    }
    assert answers == [told[item.clip_a, item.wording] for item in asked.items]

    table = wordings_table({"clap-mini": report, "again": report}, {"before", "while"})
    assert len(table.rows) == len(CONNECTIVES)
    said = table.markdown().splitlines()
    assert said[0] == "| wording | family | trained | chance | n | clap-mini | again |"
    assert said[2].startswith("| X before Y | before | yes | 50.0 | 8 | ")
    for name, row in zip(CONNECTIVES, table.rows.values(), strict=True):
        rights = [told[clip, name] for clip in {item.clip_a for item in evaluator.items}]
        assert row[1] == ("yes" if name in ("before", "while") else "no")
        assert [cell.value for cell in row[4:]] == pytest.approx([sum(rights) / 8] * 2)
    assert table.csv().splitlines()[0].startswith("wording,family,trained,chance (fraction),n,clap-mini (fraction),")
    assert "\nX while Y & while & yes & 33.3 & 8 & " in table.latex()
    assert all(row[1] is None for row in wordings_table({"x": report}, None).rows.values())
