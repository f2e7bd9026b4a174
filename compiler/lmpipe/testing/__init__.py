"""Test programs without an LM: cassettes, a network block, and a pytest plugin for both.

    @pytest.mark.cassette
    def test_a_refund_goes_to_billing():
        assert route(ticket="I was charged twice").team == "billing"

See `docs/testing.md`. Names are imported when they are first used, because pytest loads the plugin
in every run on the machine.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
