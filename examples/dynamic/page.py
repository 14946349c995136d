from dataclasses import dataclass
from typing import Any
@dataclass
class Happening:
    day: int; at: float; text: str; outcome: str = ""
@dataclass
class Played:
    days: Any; began: Any; outcomes: Any; champions: Any; metrics: Any; runs: Any; registry: Any; first: Any
def write_page(path, played, happenings):
    print(played.metrics); print(played.champions)
    return path
