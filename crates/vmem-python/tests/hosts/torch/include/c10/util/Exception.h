// As much of c10's errors as the companion touches, with the signatures of PyTorch 2.11 (c10/util/Exception.h).
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <utility>

namespace c10 {

struct SourceLocation {
    const char *function;
    const char *file;
    std::uint32_t line;
};

class Error : public std::exception {
  public:
    Error(SourceLocation where, std::string text) : text_(std::move(text)) { (void)where; }
    const char *what() const noexcept override { return text_.c_str(); }

  private:
    std::string text_;
};

class OutOfMemoryError : public Error {
    using Error::Error;
};

}  // namespace c10
