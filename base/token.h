// A token id, as the model's vocabulary numbers it. Valid ids are in [0, vocab).
#pragma once

#include <cstdint>

namespace causeway {

using Token = int32_t;

}  // namespace causeway
