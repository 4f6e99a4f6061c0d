package container

/*
#cgo CFLAGS: -O2 -Wall -Wextra -Werror=implicit-function-declaration
*/
import "C"
