"""`lomo_optim.AdaLomo` with its second moments and step count in `state_dict`, where it keeps them out."""

from typing import Any

from lomo_optim import AdaLomo

MOMENTS = ("exp_avg_sq", "exp_avg_sq_row", "exp_avg_sq_col")


class SavedAdaLomo(AdaLomo):
    def state_dict(self) -> dict[str, Any]:
        moments = {name: getattr(self, name) for name in MOMENTS}
        return {**super().state_dict(), **moments, "steps": self.step_num}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.step_num = state_dict["steps"]
        for name in MOMENTS:
            for parameter, moment in getattr(self, name).items():
                moment.copy_(state_dict[name][parameter])
