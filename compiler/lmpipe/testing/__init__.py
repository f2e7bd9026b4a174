"""Tests without an LM: cassettes, a network block, and the pytest plugin that has both.

    @pytest.mark.cassette
    def test_a_refund_goes_to_billing():
        assert route(ticket="I was charged twice").team == "billing"

`docs/testing.md` says how to record and replay. Names are imported when they are first used: the
plugin is loaded into every pytest run on a machine, and must cost nothing there.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
