package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"idlegrid/jobs"
)

const (
	daemonFolder = "/Library/LaunchDaemons"
	agentFolder  = "/Library/LaunchAgents" // of what each user's session starts
	// firstRole and lastRole bound the user IDs of roles, which are no people and are not shown as such.
	firstRole = 200
	lastRole  = 400
)

// sources are the files that the service has on this system.
func (s Service) sources() []source {
	list := []source{{s.plistPath(), s.plist}}
	if s.Helper != "" {
		path := filepath.Join(agentFolder, s.label()+"-session.plist")
		list = append(list, source{path, func() (string, error) { return s.helperFile("plist") }})
	}
	return list
}

func (s Service) plistPath() string { return filepath.Join(daemonFolder, s.label()+".plist") }

// privileged returns an error if the caller may not change services here.
func privileged() error {
	if os.Geteuid() != 0 {
		return notPrivileged("run it as root: sudo …")
	}
	return nil
}

// Check returns why the service cannot be installed here, by this caller, or could not run.
func (s Service) Check() error {
	if err := privileged(); err != nil {
		return err
	}
	return errors.Join(trusted(s.Program), passable(filepath.Dir(s.State)))
}

// Install makes the service's user, writes its property list and loads it, which starts it, now and with the system. Its
// helper starts with each desktop's session from the next login on. One that is installed already is replaced and
// restarted. The state folder becomes the user's.
func (s Service) Install(ctx context.Context, to io.Writer) error {
	files, err := s.definition()
	if err != nil {
		return err
	}
	if err := s.Check(); err != nil {
		return err
	}
	if err := s.makeUser(ctx); err != nil {
		return fmt.Errorf("make the service's user: %w", err)
	}
	say(to, "user %s", s.macUser())
	if err := os.MkdirAll(s.macLogs(), 0o755); err != nil { //nolint:gosec // logs are for everybody's eyes, as others there
		return err
	}
	logs := Service{State: s.macLogs()}
	if err := errors.Join(logs.giveState(s.macUser()), s.giveState(s.macUser())); err != nil {
		return err
	}
	if err := write(files, to); err != nil {
		return err
	}
	// Where none is loaded, which is usual, there is none to unload.
	_, _ = call(ctx, "launchctl", "bootout", "system/"+s.label())
	if err := s.Start(ctx); err != nil {
		return err
	}
	say(to, "started; it starts with the system from now on; its log: %s/%s.log", s.macLogs(), s.Name)
	if s.Helper != "" {
		say(to, "desktops tell it when they are in use from the next login on")
	}
	return nil
}

// makeUser makes the service's user, unless it is there: a role, with the first free number of roles.
func (s Service) makeUser(ctx context.Context) error {
	if _, err := user.Lookup(s.macUser()); err == nil {
		return nil
	}
	list, err := call(ctx, "dscl", ".", "-list", "/Users", "UniqueID")
	if err != nil {
		return err
	}
	taken := map[string]bool{}
	for line := range strings.Lines(list) {
		if fields := strings.Fields(line); len(fields) == 2 {
			taken[fields[1]] = true
		}
	}
	for id := lastRole; id >= firstRole; id-- {
		if taken[strconv.Itoa(id)] {
			continue
		}
		_, err := call(ctx, "sysadminctl", "-addUser", s.macUser(), "-fullName", s.Display, "-roleAccount",
			"-UID", strconv.Itoa(id), "-shell", "/usr/bin/false", "-home", "/var/empty")
		return err
	}
	return jobs.Errorf(jobs.Exhausted, "no user ID from %d to %d is free", firstRole, lastRole)
}

// Uninstall stops the service and removes everything that Install made, less the log. The state folder stays, root's.
func (s Service) Uninstall(ctx context.Context, to io.Writer) error {
	if err := privileged(); err != nil {
		return err
	}
	if _, err := os.Stat(s.plistPath()); errors.Is(err, fs.ErrNotExist) {
		return s.notInstalled()
	}
	state, err := call(ctx, "plutil", "-extract", "WorkingDirectory", "raw", s.plistPath())
	if err != nil {
		return err
	}
	// One that was stopped is not loaded.
	_, _ = call(ctx, "launchctl", "bootout", "system/"+s.label())
	say(to, "stopped")
	if err := s.remove(to); err != nil {
		return err
	}
	if _, err := user.Lookup(s.macUser()); err == nil {
		// Whoever gets the user's number next must not get its keys.
		s.State = state
		if err := s.giveState("root"); err != nil {
			return err
		}
		if _, err := call(ctx, "sysadminctl", "-deleteUser", s.macUser()); err != nil {
			return err
		}
		say(to, "removed user %s", s.macUser())
	}
	say(to, "left: %s, which is root's now, and %s", state, s.macLogs())
	return nil
}

// Start starts the service.
func (s Service) Start(ctx context.Context) error {
	return s.launchctl(ctx, "bootstrap", "system", s.plistPath())
}

// Stop stops the service until the system starts again.
func (s Service) Stop(ctx context.Context) error {
	return s.launchctl(ctx, "bootout", "system/"+s.label())
}

func (s Service) launchctl(ctx context.Context, args ...string) error {
	if err := privileged(); err != nil {
		return err
	}
	if _, err := os.Stat(s.plistPath()); errors.Is(err, fs.ErrNotExist) {
		return s.notInstalled()
	}
	if _, err := call(ctx, "launchctl", args...); err != nil {
		return jobs.WithHint(err, "its log may say why: %s/%s.log", s.macLogs(), s.Name)
	}
	return nil
}
