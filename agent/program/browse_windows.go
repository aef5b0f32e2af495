package program

import "os/exec"

// opener returns the command with which this system opens an address.
func opener(url string) (*exec.Cmd, error) {
	return exec.Command("rundll32", "url.dll,FileProtocolHandler", url), nil
}
