//go:build !windows && !darwin

package program

import (
	"errors"
	"os"
	"os/exec"
)

// opener returns the command with which this system opens an address. Without a desktop xdg-open may start a browser
// in the terminal, or wait for one.
func opener(url string) (*exec.Cmd, error) {
	if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		return nil, errors.New("no desktop here")
	}
	return exec.Command("xdg-open", url), nil
}
