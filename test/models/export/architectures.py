# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Small configurations of many architectures of `transformers`, each exported in the forms that its kind has."""
from architectures_media import MEDIA
from architectures_text import DECODERS, ENCODERS, TRANSLATORS

ARCHITECTURES = {**ENCODERS, **DECODERS, **TRANSLATORS, **MEDIA}
