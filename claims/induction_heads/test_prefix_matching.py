"""Behaviour: the head attends to what followed the present token the last time."""

import pytest

from headclaims import COPY, PLACE, TARGET, HeadValues, Pattern, attention_ratio


@pytest.mark.claim("prefix-matching")
def test_prefix_matching(claim, audit):
    """The mean attention from repeated tokens to the tokens that followed their earlier copies."""
    attention = audit.repeats.attention

    def score(head):
        return attention.mean(head, TARGET)

    claim.draw(
        heads=lambda: HeadValues(
            title="Prefix matching by layer and head",
            caption="Mean attention of each head to what followed its row's token the last time. What to see: whether "
            "the target is among the few that are bright.",
            heads=attention.heads,
            values=attention.means(TARGET),
            value_title="prefix matching",
        ),
        pattern=lambda: Pattern.marked(
            *audit.repeats.first_prompt(),
            wanted="what followed the earlier copies of the row's token",
            see="a bright line where the target is, parallel to the diagonal",
        ),
    )
    claim.check("score", score(audit.target), nulls=[audit.nulls.other_heads(score)])


@pytest.mark.claim("not-by-lag")
def test_not_by_lag(claim, audit):
    """With gaps of many lengths between the halves no fixed distance leads to the target."""
    repeats, target = audit.repeats, audit.target
    gapped = repeats.on(repeats.drawn.gapped)
    ratio = attention_ratio(gapped.grouped(target, TARGET), repeats.attention.grouped(target, TARGET))
    claim.check("ratio", ratio, measured={"gapped_score": gapped.mean(target, TARGET).value})


@pytest.mark.claim("not-the-copy")
def test_not_the_copy(claim, audit):
    """The target draws more than the earlier copy itself does."""
    attention = audit.repeats.attention

    def ratio(head):
        return attention.ratio(head, TARGET, COPY)

    measured = {"copy_score": attention.mean(audit.target, COPY).value}
    claim.check("ratio", ratio(audit.target), measured=measured, nulls=[audit.nulls.other_heads(ratio)])


@pytest.mark.claim("order-matters")
def test_order_matters(claim, audit):
    """In a shuffled second half the place where the first half would go on draws nothing."""
    repeats, target = audit.repeats, audit.target
    shuffled = repeats.on(repeats.drawn.shuffled)
    ratio = attention_ratio(shuffled.grouped(target, PLACE), repeats.attention.grouped(target, TARGET))
    claim.check("ratio", ratio, measured={"shuffled_score": shuffled.mean(target, TARGET).value})
