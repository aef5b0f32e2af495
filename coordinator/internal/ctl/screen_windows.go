package ctl

import (
	"io"
	"os"

	"golang.org/x/sys/windows"
)

// takesEscapes makes a console take escape sequences, which programs must ask for here, and reports whether it does.
func takesEscapes(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	var mode uint32
	console := windows.Handle(f.Fd())
	if windows.GetConsoleMode(console, &mode) != nil {
		return false
	}
	return windows.SetConsoleMode(console, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}

// resizes returns nothing that ever sends: Windows has no signal for it, and the next look is soon.
func resizes() (<-chan os.Signal, func()) { return nil, func() {} }
