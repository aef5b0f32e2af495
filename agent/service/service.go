// Package service makes a daemon of the grid a service of the operating system: systemd on Linux, the service manager
// on Windows, launchd on macOS. It installs, removes, starts and stops services, has a daemon tell its service manager
// how far it is, and tells the daemon what the system is about to do: sleep, wake up, shut down, switch users.
//
//	Service ──Definition──▶ what the system is told (a unit, a plist, settings; the helper of desktops' sessions)
//	        ──Install─────▶ a user of its own, the definition, started
//	Announce, Serve         a daemon and its service manager
//	Watch   ──Event───────▶ the daemon
//
// A service has a user of its own, which may do nothing but write its state folder. What the package does not do: it
// neither makes nor deletes state, downloads nothing, and is no supervisor. Everything is done by the system's own
// means, so that an administrator finds what they know.
package service

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"idlegrid/jobs"
)

const (
	// ServeVerb is the verb by which the service manager of Windows runs a daemon, with the arguments of run.
	ServeVerb = "service-run"
	// stopWithin bounds what a service manager waits for a daemon to end, before it kills it. An agent takes five
	// seconds at most (agent.Run).
	stopWithin = 10 * time.Second
	// restartAfter is how long after a crash a daemon is started again. It is tried for ever: what stands in its way, a
	// full disk or a network that is not up yet, passes.
	restartAfter = 10 * time.Second
	// runtimeFolder is the folder under /run where an agent has its local socket.
	runtimeFolder = "idlegrid"
	// maxOutput bounds what is quoted of a command that failed, in bytes.
	maxOutput = 2000
)

// Service describes a daemon as a service.
type Service struct {
	Name        string   // of the service and of the program: gridagent
	Display     string   // for people, where the system shows services
	Description string   // one sentence
	Program     string   // absolute path
	Args        []string // what its run verb gets beside the state folder
	State       string   // the state folder, an absolute path
	Needs       string   // the file in State without which there is nothing to run yet
	User        string   // the system user that it runs as, made for it; Windows has an account for each service
	// Works says that it runs units and watches the machine: it gets a cgroup subtree of its own, may map memory for
	// code, see other processes and devices, and has a folder for its local socket.
	Works bool
	// Helper is the verb by which the program runs in each desktop's session, as its user and without rights; empty: none
	// does.
	Helper string
}

// Agent describes the service of an agent.
func Agent(program, state string, args []string) Service {
	return Service{
		Name: "gridagent", Display: "Idle grid agent", Description: "Runs work units of the grid in the idle time of this machine",
		Program: program, Args: args, State: state, Needs: "chain.pem", User: "idlegrid", Works: true,
		Helper: "session-helper",
	}
}

// Coordinator describes the service of a coordinator. Its user is not the agents': the keys of a grid are safe from an
// agent on the same machine.
func Coordinator(program, state string, args []string) Service {
	return Service{
		Name: "gridcoordinator", Display: "Idle grid coordinator", Description: "Enrols machines, admits and seeds jobs, reports throughput",
		Program: program, Args: args, State: state, Needs: "key.pem", User: "idlegrid-coordinator",
	}
}

// command is the command line of the service, with the verb that the system calls.
func (s Service) command(verb string) []string {
	return append([]string{s.Program, verb, "--state", s.State}, s.Args...)
}

// validate checks what becomes part of a definition.
func (s Service) validate() error {
	for name, path := range map[string]string{"program": s.Program, "state folder": s.State} {
		if !filepath.IsAbs(path) {
			return jobs.Errorf(jobs.Invalid, "%s %q: expected an absolute path", name, path)
		}
	}
	for _, arg := range s.command("run") {
		if i := strings.IndexFunc(arg, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }); i >= 0 {
			return jobs.Errorf(jobs.Invalid, "%.300q in the service's command line: expected printable text", arg)
		}
	}
	return nil
}

// file is one that Install writes for the system to read.
type file struct{ path, text string }

// Definition returns what Install tells the system, as text for people.
func (s Service) Definition() (string, error) {
	files, err := s.definition()
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for i, f := range files {
		if i > 0 {
			fmt.Fprintf(&out, "\n# %s:\n", f.path)
		}
		out.WriteString(f.text)
	}
	return out.String(), nil
}

// notPrivileged is the error of a caller who may not change services.
func notPrivileged(hint string) error {
	return jobs.WithHint(jobs.Errorf(jobs.Denied, "services are the administrator's to change"), "%s", hint)
}

// notInstalled is the error where there is no such service.
func (s Service) notInstalled() error {
	return jobs.WithHint(jobs.Errorf(jobs.NotFound, "%s is not installed as a service", s.Name), "%s install", s.Name)
}

// call runs a command of the system, and quotes what it said where it fails.
func call(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return text, fmt.Errorf("%s %s: %w: %.*s", name, strings.Join(args, " "), err, maxOutput, text)
	}
	return text, nil
}

// say tells whoever installs what was done.
func say(to io.Writer, format string, args ...any) { fmt.Fprintf(to, format+"\n", args...) }
