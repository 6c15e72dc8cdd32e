"""The demo in the browser: rules, models, the study, and any model's answers (extra ``demo``)."""
