package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"idlegrid/agent/peer/identity"
	"idlegrid/agent/program"
	"idlegrid/agent/service"
	"idlegrid/jobs"
)

// newService makes the verbs of the coordinator as a service of the system.
func newService() []*cobra.Command {
	return program.Daemon{Of: service.Coordinator, Role: "coordinator", Run: newRun, Prepare: prepare}.Commands()
}

// prepare checks that there is a grid in the state folder, whole or put back from a backup.
func prepare(_ context.Context, _ io.Writer, state string) error {
	dir, err := openState(state)
	if err == nil {
		_, err = identity.LoadKey(dir)
		err = errors.Join(err, dir.Close())
	}
	if jobs.KindOf(err) == jobs.NotFound {
		return jobs.WithHint(err, "make a grid first: gridcoordinator init --state %s", state)
	}
	return err
}
