"""What reading bytes from outside may raise, named once so that no reader forgets one.

msgspec raises its own error for a wrong structure, but lets Python's through for text that is no UTF-8 and for
unknown fields nested a thousand deep. A broker or a device can send either before any signature was checked.
"""

from typing import Final

import msgspec

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
