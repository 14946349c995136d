"""Birth weight from what is known before the birth: the problem of the field's classic Dataflow comparison."""

from headrace import Categorical, Crossed, Gate, Numeric, Problem, Training

problem = Problem(
    name="natality",
    key="record_id",
    label=Numeric("weight_pounds", minimum=0.5, maximum=20.0),
    features=[
        Numeric("mother_age", minimum=10, maximum=65, buckets=[20, 25, 30, 35, 40]),
        Numeric("gestation_weeks", minimum=17, maximum=47),
        Numeric("weight_gain_pounds", minimum=0, maximum=150, optional=True),
        Categorical("is_male", vocabulary=["false", "true"]),
        Categorical("plurality"),
        Categorical("mother_race", embedding=3),
        Categorical("mother_married", vocabulary=["false", "true"]),
        Categorical("cigarette_use", vocabulary=["false", "true"], optional=True),
        Crossed("mother_age", "plurality", hash_buckets=64),
    ],
    # Predicting the mean for everyone is off by 1.4 pounds (root mean squared).
    gate=Gate(metric="root_mean_squared_error", at_most=1.2, slices=["is_male", "mother_race"]),
    training=Training(batch_size=32, epochs=40, learning_rate=0.003, hidden_units=[32, 16], seed=1),
)
