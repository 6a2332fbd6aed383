#!/bin/bash
# As the vendor's: prepares, then becomes the command that it was given.
echo "the vendor's entrypoint ran" >&2
exec "$@"
