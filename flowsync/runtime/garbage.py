"""How often a process of ours looks for garbage in cycles.

Tens of thousands of objects live as long as a sync, and thousands come and go with every batch,
nearly all freed by their reference counts. At Python's defaults the collector walks through the
same objects over and over and finds next to nothing: a first sync of 20 000 files of 4 KiB took
15.6-16.1 s of user CPU with the defaults and 11.9-12.4 s with these, the peak of memory being the
same 80 MiB (`make bench SCENARIO=first_small`, with a threshold of 10 000). At 10 000 it still
looked 41 to 44 times at the young ones in such a sync, for 0.25 to 0.34 of 5 s of CPU, because
every batch makes more than that and frees it again; at 100 000 once, and the peak stays the same.
Sixteen such syncs at once: 0.45 to 0.56 s, and 0.1 s.
"""

import gc
from typing import Final

NEW_OBJECTS: Final = 100_000
"""Container objects made, less those freed, between two looks at the young ones: more than the
items in flight consist of. Python's default is 700, and 2 000 since 3.14.
"""


def collect_rarely() -> None:
    """Leave alone what this process has made until now, and look at what is new less often.

    This is a setting of the whole process: for processes that are ours, or by the decision of the
    application that calls it, once it has imported what it needs.
    """
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, 10, 10)
