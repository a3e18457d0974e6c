// The tensors that a runner is given, and what both runners do around the model's runs.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "mark.h"

namespace autoglm {

struct Tensor {
  int code, bits;  // as in DLDataType
  std::vector<int64_t> shape;
  void* data;
  size_t nbytes;
};

// Maps a file privately, so that a kernel may write where it should not without harm to the file.
inline char* MapFile(const std::string& path) {
  int fd = open(path.c_str(), O_RDONLY);
  struct stat status = {};
  if (fd < 0 || fstat(fd, &status) != 0) throw std::runtime_error("cannot read " + path);
  if (status.st_size == 0) return nullptr;
  void* data = mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_POPULATE, fd, 0);
  close(fd);
  if (data == MAP_FAILED) throw std::runtime_error("cannot map " + path);
  return static_cast<char*>(data);
}

// Reads the list of tensors: one a line, "FILE OFFSET NBYTES CODE BITS DIM DIM ...", the files
// beside the list.
inline std::vector<Tensor> ReadTensors(const std::string& list) {
  const std::string folder = list.substr(0, list.rfind('/') + 1);
  std::vector<Tensor> tensors;
  std::string line, mapped_name;
  char* mapped = nullptr;
  std::ifstream file(list);
  if (!file) throw std::runtime_error("cannot read " + list);
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string name;
    size_t offset = 0;
    Tensor tensor = {};
    words >> name >> offset >> tensor.nbytes >> tensor.code >> tensor.bits;
    for (int64_t dim = 0; words >> dim;) tensor.shape.push_back(dim);
    if (name != mapped_name) mapped = MapFile(folder + name);
    mapped_name = name;
    tensor.data = mapped + offset;
    tensors.push_back(tensor);
  }
  return tensors;
}

// The counted run stands between two marks. One run before it warms everything up.
inline void Mark() { close(MARK_FD); }

// Writes where the libraries lie, so that addresses can be told apart.
inline void CopyMaps(const std::string& path) {
  std::ifstream maps("/proc/self/maps");
  std::ofstream copy(path);
  copy << maps.rdbuf();
}

// Appends one output, as it lies in memory.
inline void AppendOutput(std::ofstream* file, const void* data, size_t nbytes) {
  file->write(static_cast<const char*>(data), static_cast<std::streamsize>(nbytes));
  if (!*file) throw std::runtime_error("cannot write the outputs");
}

}  // namespace autoglm
