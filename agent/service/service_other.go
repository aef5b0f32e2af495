//go:build !linux && !windows && !darwin

package service

import (
	"context"
	"io"
	"runtime"

	"idlegrid/jobs"
)

// unsupported is the error on a system whose services are not known here.
func unsupported() error {
	return jobs.WithHint(jobs.Errorf(jobs.Unsupported, "services of %s are not supported", runtime.GOOS),
		"have the system's own means start the program's run verb")
}

func (s Service) definition() ([]file, error) { return nil, unsupported() }

// Check refuses: services of this system are not supported.
func (s Service) Check() error { return unsupported() }

// Install refuses: services of this system are not supported.
func (s Service) Install(context.Context, io.Writer) error { return unsupported() }

// Uninstall refuses: services of this system are not supported.
func (s Service) Uninstall(context.Context, io.Writer) error { return unsupported() }

// Start refuses: services of this system are not supported.
func (s Service) Start(context.Context) error { return unsupported() }

// Stop refuses: services of this system are not supported.
func (s Service) Stop(context.Context) error { return unsupported() }
