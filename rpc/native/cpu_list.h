// Lists of CPUs as the kernel writes them: "0-3,6".
#pragma once

#include <string>
#include <vector>

namespace autoglm {

// Numbers in ascending order, each once. Throws std::invalid_argument for an empty or malformed
// list, and for numbers that no kernel has.
std::vector<int> ParseCpuList(const std::string& text);

// The other way round: the shortest list, "0-3,6".
std::string FormatCpuList(const std::vector<int>& ascending);

}  // namespace autoglm
