"""Records of a stream: decoded, scored with the model in use in one call, and encoded as predictions or rejections."""
