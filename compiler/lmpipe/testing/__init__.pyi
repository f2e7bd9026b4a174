from .network import block_network as block_network
from .redirect import Cassette as Cassette
from .redirect import RecordedCall as RecordedCall
from .redirect import RecordedRequest as RecordedRequest
from .redirect import use_cassette as use_cassette
