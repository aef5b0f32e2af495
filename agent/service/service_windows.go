package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"
	"golang.org/x/sys/windows/svc/mgr"

	"idlegrid/jobs"
)

const (
	// forgetFailures is after how many seconds without a failure the first recovery action counts again.
	forgetFailures = 24 * 60 * 60
	// look is how often a service that starts or stops is looked at.
	look = 100 * time.Millisecond
	// startWithin bounds the wait for a service to run: as long as the service manager waits for a sign of life.
	startWithin = 30 * time.Second
	// runKey lists what every user's session starts.
	runKey = `SOFTWARE\Microsoft\Windows\CurrentVersion\Run`
)

func (s Service) definition() ([]file, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	return []file{{text: s.settings()}}, nil
}

// helperLine is the helper's command line: of the program that has no window, gridagentw.exe, where that lies beside the
// other.
func (s Service) helperLine() string {
	command := s.helperCommand()
	windowless := strings.TrimSuffix(s.Program, ".exe") + "w.exe"
	if _, err := os.Stat(windowless); err == nil {
		command[0] = windowless
	}
	return windows.ComposeCommandLine(command)
}

// setHelper has every session start the helper, or none any more.
func (s Service) setHelper(on bool) error {
	key, _, err := registry.CreateKey(registry.LOCAL_MACHINE, runKey, registry.SET_VALUE)
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	if on {
		err = key.SetStringValue(s.helperName(), s.helperLine())
	} else if err = key.DeleteValue(s.helperName()); errors.Is(err, registry.ErrNotExist) {
		err = nil // an older version installed none
	}
	return errors.Join(err, key.Close())
}

// Check returns why the service cannot be installed here, by this caller.
func (s Service) Check() error {
	m, err := connect()
	if err != nil {
		return err
	}
	return m.Disconnect()
}

func connect() (*mgr.Mgr, error) {
	m, err := mgr.Connect()
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		return nil, notPrivileged("run it as administrator")
	}
	if err != nil {
		return nil, fmt.Errorf("service manager: %w", err)
	}
	return m, nil
}

// with calls do with the service's handle.
func (s Service) with(do func(*mgr.Service) error) error {
	m, err := connect()
	if err != nil {
		return err
	}
	h, err := m.OpenService(s.Name)
	switch {
	case errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST):
		err = s.notInstalled()
	case err == nil:
		err = errors.Join(do(h), h.Close())
	}
	return errors.Join(err, m.Disconnect())
}

// Install makes the service, gives its account the state folder, has it started with the system from now on, and starts
// it. Its helper starts with each session from the next login on. One that is installed already is replaced and restarted.
func (s Service) Install(ctx context.Context, to io.Writer) error {
	if err := s.validate(); err != nil {
		return err
	}
	if err := s.create(ctx); err != nil {
		return err
	}
	say(to, "service %s, as %s", s.Name, s.virtualAccount())
	if err := s.giveState(); err != nil {
		return fmt.Errorf("access to %s: %w", s.State, err)
	}
	say(to, "access to %s: the system, administrators and the service", s.State)
	if s.Helper != "" {
		if err := s.setHelper(true); err != nil {
			return fmt.Errorf("helper of sessions: %w", err)
		}
		say(to, "desktops tell it when they are in use from the next login on: %s", s.helperLine())
	}
	err := s.with(func(h *mgr.Service) error {
		s.tune(h, to)
		return s.start(ctx, h)
	})
	if err != nil {
		return err
	}
	say(to, "started; it starts with the system from now on; its log: %s", s.logPath())
	return nil
}

// create makes the service, or stops it and gives it its new settings.
func (s Service) create(ctx context.Context) error {
	m, err := connect()
	if err != nil {
		return err
	}
	command := s.command(ServeVerb)
	c := mgr.Config{
		ServiceType: windows.SERVICE_WIN32_OWN_PROCESS, StartType: mgr.StartAutomatic, ErrorControl: mgr.ErrorNormal,
		DisplayName: s.Display, Description: s.Description, ServiceStartName: s.virtualAccount(),
	}
	h, err := m.OpenService(s.Name)
	switch {
	case errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST):
		h, err = m.CreateService(s.Name, s.Program, c, command[1:]...)
	case err == nil:
		if err = s.stop(ctx, h); err == nil {
			err = setCommand(h, command)
		}
	}
	if h != nil {
		err = errors.Join(err, h.Close())
	}
	if err := errors.Join(err, m.Disconnect()); err != nil {
		return fmt.Errorf("make service %s: %w", s.Name, err)
	}
	return nil
}

// setCommand gives a service another command line, and has it start with the system.
func setCommand(h *mgr.Service, command []string) error {
	line, err := windows.UTF16PtrFromString(windows.ComposeCommandLine(command))
	if err != nil {
		return err
	}
	return windows.ChangeServiceConfig(h.Handle, windows.SERVICE_NO_CHANGE, mgr.StartAutomatic, windows.SERVICE_NO_CHANGE, line,
		nil, nil, nil, nil, nil, nil)
}

// giveState makes the state folder, if it is not there, for those only who may see it.
func (s Service) giveState() error {
	if err := os.MkdirAll(s.State, 0o700); err != nil {
		return err
	}
	sd, err := windows.SecurityDescriptorFromString(s.access())
	if err != nil {
		return err
	}
	list, _, err := sd.DACL()
	if err != nil {
		return err
	}
	return windows.SetNamedSecurityInfo(s.State, windows.SE_FILE_OBJECT,
		windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, list, nil)
}

// tune sets what a service can do without, and tells what this system does not take.
func (s Service) tune(h *mgr.Service, to io.Writer) {
	restart := mgr.RecoveryAction{Type: mgr.ServiceRestart, Delay: restartAfter}
	preshutdown := struct{ timeout uint32 }{uint32(stopWithin.Milliseconds())}
	delayed := struct{ delayed uint32 }{1}
	for _, one := range []struct {
		what string
		err  error
	}{
		{"restart after a crash", h.SetRecoveryActions([]mgr.RecoveryAction{restart, restart, restart}, forgetFailures)},
		{"restart after an error", h.SetRecoveryActionsOnNonCrashFailures(true)},
		{"start after the others", windows.ChangeServiceConfig2(h.Handle, windows.SERVICE_CONFIG_DELAYED_AUTO_START_INFO, (*byte)(unsafe.Pointer(&delayed)))},
		{"wait before a shutdown", windows.ChangeServiceConfig2(h.Handle, windows.SERVICE_CONFIG_PRESHUTDOWN_INFO, (*byte)(unsafe.Pointer(&preshutdown)))},
		{"event log", s.registerLog()},
	} {
		if one.err != nil {
			say(to, "not on this system: %s: %v", one.what, one.err)
		}
	}
}

// registerLog has the event log know the service's messages. It may have them already.
func (s Service) registerLog() error {
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, `SYSTEM\CurrentControlSet\Services\EventLog\Application\`+s.Name, registry.QUERY_VALUE)
	if err == nil {
		return key.Close()
	}
	return eventlog.InstallAsEventCreate(s.Name, eventlog.Error|eventlog.Warning|eventlog.Info)
}

// Uninstall stops the service and removes everything that Install made. The state folder stays, as it is.
func (s Service) Uninstall(ctx context.Context, to io.Writer) error {
	err := s.with(func(h *mgr.Service) error {
		if err := s.stop(ctx, h); err != nil {
			return err
		}
		say(to, "stopped")
		return h.Delete()
	})
	if err != nil {
		return err
	}
	if s.Helper != "" {
		if err := s.setHelper(false); err != nil {
			return fmt.Errorf("helper of sessions: %w", err)
		}
	}
	if err := eventlog.Remove(s.Name); err != nil && !errors.Is(err, registry.ErrNotExist) {
		return fmt.Errorf("event log: %w", err)
	}
	say(to, "removed service %s", s.Name)
	say(to, "left: its state folder")
	return nil
}

// Start starts the service.
func (s Service) Start(ctx context.Context) error {
	return s.with(func(h *mgr.Service) error { return s.start(ctx, h) })
}

// Stop stops the service until the system starts again.
func (s Service) Stop(ctx context.Context) error {
	return s.with(func(h *mgr.Service) error { return s.stop(ctx, h) })
}

func (s Service) start(ctx context.Context, h *mgr.Service) error {
	if err := h.Start(); err != nil && !errors.Is(err, windows.ERROR_SERVICE_ALREADY_RUNNING) {
		return fmt.Errorf("start %s: %w", s.Name, err)
	}
	return s.await(ctx, h, svc.Running, startWithin)
}

func (s Service) stop(ctx context.Context, h *mgr.Service) error {
	if _, err := h.Control(svc.Stop); err != nil && !errors.Is(err, windows.ERROR_SERVICE_NOT_ACTIVE) {
		return fmt.Errorf("stop %s: %w", s.Name, err)
	}
	return s.await(ctx, h, svc.Stopped, stopWithin)
}

// await waits until the service is in a state. One that ended instead of running is an error.
func (s Service) await(ctx context.Context, h *mgr.Service, want svc.State, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		now, err := h.Query()
		switch {
		case err != nil:
			return err
		case now.State == want:
			return nil
		case now.State == svc.Stopped:
			return jobs.WithHint(jobs.Errorf(jobs.Unavailable, "%s ended (exit code %d)", s.Name, now.Win32ExitCode), "its log says why: %s", s.logPath())
		}
		select {
		case <-ctx.Done():
			return jobs.WithHint(jobs.Errorf(jobs.Unavailable, "%s is still in state %d: %w", s.Name, now.State, ctx.Err()), "its log may say why: %s", s.logPath())
		case <-tick.C:
		}
	}
}
