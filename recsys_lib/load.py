"""Load: requests sent at a program, or at the model of one, and what became of them."""

import heapq
import itertools
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

type_ = type  # placeholder
