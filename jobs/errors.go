package jobs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrorKind classifies errors across the grid: the RPC layer maps kinds to status codes and back, and
// gridctl maps them to exit codes.
type ErrorKind uint8

// The closed list of error kinds.
const (
	Internal    ErrorKind = iota // a fault of the grid itself; the kind of an error that has none
	Invalid                      // the request or file is wrong, and stays wrong
	Denied                       // the caller may not do this
	NotFound                     // no such job, unit, blob or peer
	Exists                       // there is one already, and it is another
	Exhausted                    // a limit is reached; try later or ask for less
	Unavailable                  // the peer cannot be reached or is not ready; try again
	Unsupported                  // not built yet, or not in this version
	Expired                      // the job, token or certificate is past its time
	Corrupt                      // bytes do not match their digest or signature
)

// String returns the kind's name.
func (k ErrorKind) String() string {
	names := [...]string{
		"internal", "invalid", "denied", "not found", "exists", "exhausted", "unavailable", "unsupported",
		"expired", "corrupt",
	}
	if int(k) >= len(names) {
		return fmt.Sprintf("error kind %d", uint8(k))
	}
	return names[k]
}

// Error is an error with a kind, and with a hint for the person who can do something about it.
type Error struct {
	Kind ErrorKind
	Hint string // one sentence, or empty
	Err  error
}

// Error returns the message without the hint; the command line shows the hint on a line of its own.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the wrapped error.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an error of a kind; %w wraps as in fmt.Errorf.
func Errorf(kind ErrorKind, format string, args ...any) error {
	return &Error{Kind: kind, Err: fmt.Errorf(format, args...)}
}

// WithHint adds a hint to err and keeps its kind. An outer hint hides an inner one.
func WithHint(err error, format string, args ...any) error {
	return &Error{Kind: KindOf(err), Hint: fmt.Sprintf(format, args...), Err: err}
}

// KindOf returns the kind of the outermost Error in err's chain, or Internal.
func KindOf(err error) ErrorKind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// HintOf returns the outermost hint in err's chain, or "".
func HintOf(err error) string {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return ""
		}
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}

// Outside returns an error's text for people at other machines. Of files that the system speaks of it has the names
// alone: where they lie here may say who uses this machine.
func Outside(err error) string {
	text := err.Error()
	for _, path := range pathsIn(err) {
		if name := filepath.Base(path); path != "" && name != path {
			text = strings.ReplaceAll(text, path, name)
		}
	}
	return text
}

// pathsIn returns the paths that the system's errors in err's tree name.
func pathsIn(err error) (paths []string) {
	switch e := err.(type) { //nolint:errorlint // It goes through the tree itself.
	case *fs.PathError:
		paths = append(paths, e.Path)
	case *os.LinkError:
		paths = append(paths, e.Old, e.New)
	}
	switch e := err.(type) { //nolint:errorlint // Likewise.
	case interface{ Unwrap() error }:
		return append(paths, pathsIn(e.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			paths = append(paths, pathsIn(one)...)
		}
	}
	return paths
}
