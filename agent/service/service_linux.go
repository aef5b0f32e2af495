package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"

	"idlegrid/jobs"
)

// Where an administrator's files lie; those of packages lie elsewhere, and these go first.
const (
	unitFolder     = "/etc/systemd/system"
	userUnitFolder = "/etc/systemd/user"
	desktopFolder  = "/etc/xdg/autostart"

	slicePath = unitFolder + "/" + sliceName
)

func (s Service) unitName() string { return s.Name + ".service" }

func (s Service) unitPath() string { return filepath.Join(unitFolder, s.unitName()) }

func (s Service) helperUnit() string { return s.helperName() + ".service" }

func (s Service) helperUnitPath() string { return filepath.Join(userUnitFolder, s.helperUnit()) }

// sources are the files that the service has on this system.
func (s Service) sources() []source {
	list := []source{{s.unitPath(), s.unit}}
	if s.Works {
		list = append(list, source{slicePath, func() (string, error) { return render("slice", nil) }})
	}
	if s.Helper != "" {
		list = append(list, source{s.helperUnitPath(), func() (string, error) { return s.helperFile("service") }},
			source{filepath.Join(desktopFolder, s.helperName()+".desktop"), func() (string, error) { return s.helperFile("desktop") }})
	}
	return list
}

// privileged returns an error if the caller may not change services here, or there is no systemd.
func privileged() error {
	if os.Geteuid() != 0 {
		return notPrivileged("run it as root: sudo …")
	}
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return jobs.WithHint(jobs.Errorf(jobs.Unsupported, "this machine is not run by systemd"),
			"have the system's own means start the program's run verb")
	}
	return nil
}

// Install makes the service's user, writes its unit, has it started with the system from now on, and starts it. Its
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
	entry := fmt.Sprintf(`u %s - %q %s`, s.User, s.Display, filepath.Dir(s.State))
	if _, err := call(ctx, "systemd-sysusers", "--inline", entry); err != nil {
		return fmt.Errorf("make the service's user: %w", err)
	}
	say(to, "user %s", s.User)
	if err := s.giveState(s.User); err != nil {
		return err
	}
	if err := write(files, to); err != nil {
		return err
	}
	calls := [][]string{{"daemon-reload"}, {"enable", "--quiet", s.unitName()}}
	if s.Helper != "" {
		calls = append(calls, []string{"--global", "enable", "--quiet", s.helperUnit()})
	}
	for _, args := range calls {
		if _, err := call(ctx, "systemctl", args...); err != nil {
			return err
		}
	}
	if err := s.systemctl(ctx, "restart"); err != nil {
		return err
	}
	say(to, "started; it starts with the system from now on; its log: journalctl -u %s", s.Name)
	if s.Helper != "" {
		say(to, "desktops tell it when they are in use from the next login on")
	}
	return nil
}

// Check returns why the service cannot be installed here, by this caller, or could not run.
func (s Service) Check() error {
	for _, check := range []func() error{
		privileged,
		func() error { return visible(filepath.Dir(s.Program)) },
		func() error { return visible(s.State) },
		func() error { return trusted(s.Program) },
		func() error { return passable(filepath.Dir(s.State)) },
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// Uninstall stops the service and removes everything that Install made. The state folder stays, root's.
func (s Service) Uninstall(ctx context.Context, to io.Writer) error {
	if err := privileged(); err != nil {
		return err
	}
	if _, err := os.Stat(s.unitPath()); errors.Is(err, fs.ErrNotExist) {
		return s.notInstalled()
	}
	state, err := call(ctx, "systemctl", "show", "--value", "--property=WorkingDirectory", s.unitName())
	if err != nil {
		return err
	}
	if _, err := call(ctx, "systemctl", "disable", "--now", "--quiet", s.unitName()); err != nil {
		return err
	}
	say(to, "stopped")
	if _, err := os.Stat(s.helperUnitPath()); err == nil {
		if _, err := call(ctx, "systemctl", "--global", "disable", "--quiet", s.helperUnit()); err != nil {
			return err
		}
	}
	if err := s.remove(to); err != nil {
		return err
	}
	if _, err := call(ctx, "systemctl", "daemon-reload"); err != nil {
		return err
	}
	// A unit that did not fail has nothing to reset, which is an error of systemctl.
	_, _ = call(ctx, "systemctl", "reset-failed", s.unitName())
	if _, err := user.Lookup(s.User); err == nil {
		// Whoever gets the user's number next must not get its keys.
		s.State = state
		if err := s.giveState("root"); err != nil {
			return err
		}
		if _, err := call(ctx, "userdel", s.User); err != nil {
			return err
		}
		say(to, "removed user %s", s.User)
	}
	say(to, "left: %s, which is root's now", state)
	return nil
}

// Start starts the service.
func (s Service) Start(ctx context.Context) error {
	return s.systemctl(ctx, "start")
}

// Stop stops the service until the system starts again.
func (s Service) Stop(ctx context.Context) error {
	return s.systemctl(ctx, "stop")
}

// systemctl starts or stops the service.
func (s Service) systemctl(ctx context.Context, verb string) error {
	if err := privileged(); err != nil {
		return err
	}
	_, err := call(ctx, "systemctl", verb, s.unitName())
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.ExitCode() == 5: // no such unit, says systemctl(1)
		return s.notInstalled()
	}
	return jobs.WithHint(err, "its log says why: journalctl -u %s -n 50", s.Name)
}

// hidden are the folders that the unit hides from the service, by ProtectHome and PrivateTmp.
var hidden = []string{"/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/"}

// visible returns an error if the unit hides a folder from the service.
func visible(folder string) error {
	for _, h := range hidden {
		if strings.HasPrefix(folder+"/", h) {
			return jobs.WithHint(jobs.Errorf(jobs.Denied, "the service would not see %s: it has no %s", folder, h),
				"have the program in /usr/local/bin and its state under /var/lib")
		}
	}
	return nil
}
