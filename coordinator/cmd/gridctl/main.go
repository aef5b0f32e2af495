// Command gridctl is the submitter's program: it checks jobs, runs them here or on the grid, and gets their
// results. Its verbs are in coordinator/internal/ctl.
package main

import (
	"os"

	"idlegrid/agent/executor"
	"idlegrid/coordinator/internal/ctl"
)

func main() {
	executor.Main() // Does not return in a process that runs units.
	os.Exit(ctl.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
