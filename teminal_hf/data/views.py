"""The views of a group: what is heard, and under which names."""

RENDERED_VIEWS = ("single", "forward", "reversed", "overlay")
# Of a third clip besides, one after another, or one alone and two at once; of two, a long one and a short one.
SCENES = ("three", "nested", "duration")
STAGE_A_VIEWS = ("single", "double")  # a double is one of stage B's views
STAGE_B_VIEWS = ("forward", "reversed", "overlay")
PAIR = "pair"  # a user's own recording and caption beside a group
STAGE_VIEWS = {"stage_a": STAGE_A_VIEWS, "stage_b": (*STAGE_A_VIEWS, *STAGE_B_VIEWS)}
