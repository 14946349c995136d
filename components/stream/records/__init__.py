"""Records of a stream: decoded, scored by the model in use, and encoded as predictions or rejections."""
