#include "cpu_list.h"

#include <sched.h>

#include <cctype>
#include <set>
#include <stdexcept>

namespace autoglm {

namespace {

constexpr int kMaxDigits = 4;

[[noreturn]] void Refuse(const std::string& text) {
  throw std::invalid_argument("not a list of CPUs such as '4-7' or '0,2,4-5': '" + text + "'");
}

// Reads the digits at `*at` and moves it behind them.
int TakeNumber(const std::string& text, size_t* at) {
  size_t end = *at;
  while (end < text.size() && std::isdigit(static_cast<unsigned char>(text[end]))) ++end;
  if (end == *at || end - *at > kMaxDigits) Refuse(text);
  int number = std::stoi(text.substr(*at, end - *at));
  if (number >= CPU_SETSIZE) Refuse(text);
  *at = end;
  return number;
}

}  // namespace

std::vector<int> ParseCpuList(const std::string& text) {
  std::set<int> found;
  size_t at = 0;
  while (true) {
    int first = TakeNumber(text, &at);
    int last = first;
    if (at < text.size() && text[at] == '-') last = TakeNumber(text, &++at);
    if (last < first) Refuse(text);
    for (int cpu = first; cpu <= last; ++cpu) found.insert(cpu);
    if (at == text.size()) return {found.begin(), found.end()};
    if (text[at++] != ',') Refuse(text);
  }
}

std::string FormatCpuList(const std::vector<int>& ascending) {
  std::string text;
  for (size_t i = 0; i < ascending.size();) {
    size_t end = i + 1;
    while (end < ascending.size() && ascending[end] == ascending[end - 1] + 1) ++end;
    if (!text.empty()) text += ",";
    text += std::to_string(ascending[i]);
    if (end - i > 1) text += "-" + std::to_string(ascending[end - 1]);
    i = end;
  }
  return text;
}

}  // namespace autoglm
