package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"

	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"
	"gopkg.in/natefinch/lumberjack.v2"

	"idlegrid/jobs"
)

const (
	accepts = svc.AcceptStop | svc.AcceptShutdown | svc.AcceptPreShutdown | svc.AcceptPowerEvent | svc.AcceptSessionChange
	// maxEvents bounds the events that wait while the handler works: they are few a day.
	maxEvents = 64
	// logSize is how many MiB of log there are at most, twice: the running file and the one before.
	logSize = 10
	// Numbers of messages in the event log; eventcreate's file has texts for 1 to 1000.
	eventRuns   = 1
	eventStops  = 2
	eventFailed = 3
)

// Power events (winuser.h).
const (
	pbtSuspend         = 0x4
	pbtResumeSuspend   = 0x7
	pbtResumeAutomatic = 0x12
)

func (s Service) logPath() string { return filepath.Join(s.State, s.Name+".log") }

// Serve runs a daemon as a service, called by the service manager. What it writes to os.Stderr goes to a file in the
// state folder, a crash to another beside it; that it runs, stops or failed is in the event log too.
func Serve(ctx context.Context, s Service, run func(context.Context) error) error {
	events, err := eventlog.Open(s.Name)
	if err != nil {
		return fmt.Errorf("event log: %w", err)
	}
	closeLog, err := s.openLog()
	if err != nil {
		return errors.Join(err, events.Error(eventFailed, err.Error()), events.Close())
	}
	// A user who logs off is told to services as a signal to end. Only the service manager ends a service.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt, syscall.SIGTERM)
	h := &manager{run: run, parent: context.WithoutCancel(ctx), ready: make(chan struct{}), events: make(chan Event, maxEvents), log: events}
	if err := svc.Run(s.Name, h); err != nil {
		h.err = jobs.WithHint(fmt.Errorf("not called by the service manager: %w", err), "use the run verb")
	}
	if h.err != nil {
		fmt.Fprintln(os.Stderr, h.err)
	}
	return errors.Join(h.err, closeLog(), events.Close())
}

// openLog makes os.Stderr a file, which is turned over when it is large.
func (s Service) openLog() (func() error, error) {
	crash, err := os.OpenFile(filepath.Join(s.State, s.Name+".crash.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	err = errors.Join(debug.SetCrashOutput(crash, debug.CrashOptions{}), crash.Close()) // the runtime has a copy
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	file := &lumberjack.Logger{Filename: s.logPath(), MaxSize: logSize, MaxBackups: 1}
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(file, r)
		copied <- err
	}()
	before := os.Stderr
	os.Stderr = w
	return func() error {
		os.Stderr = before
		return errors.Join(w.Close(), <-copied, r.Close(), file.Close())
	}, nil
}

// manager is what the service manager talks to.
type manager struct {
	run    func(context.Context) error
	parent context.Context //nolint:containedctx // svc.Run has no context to pass on
	ready  chan struct{}   // closed when the daemon runs
	once   sync.Once
	events chan Event
	log    *eventlog.Log // nil: none
	err    error         // how the daemon ended
}

// managerKey is the manager in the daemon's context.
type managerKey struct{}

// Execute runs the daemon and tells the manager how far it is, until it ends.
func (m *manager) Execute(_ []string, requests <-chan svc.ChangeRequest, status chan<- svc.Status) (bool, uint32) {
	status <- svc.Status{State: svc.StartPending, WaitHint: uint32(startWithin.Milliseconds())}
	ctx, cancel := context.WithCancel(context.WithValue(m.parent, managerKey{}, m))
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- m.run(ctx) }()
	ready := m.ready
	for {
		select {
		case <-ready:
			ready = nil
			m.note(eventRuns, "running")
			status <- svc.Status{State: svc.Running, Accepts: accepts}
		case m.err = <-ended:
			if m.err != nil {
				m.note(eventFailed, m.err.Error())
				return true, 1
			}
			m.note(eventStops, "stopped")
			return false, 0
		case r := <-requests:
			switch r.Cmd {
			case svc.Interrogate:
				status <- r.CurrentStatus
			case svc.Stop, svc.Shutdown, svc.PreShutdown:
				if r.Cmd != svc.Stop {
					m.tell(Shutdown)
				}
				ready = nil
				status <- svc.Status{State: svc.StopPending, WaitHint: uint32(stopWithin.Milliseconds())}
				cancel()
			case svc.PowerEvent:
				m.power(r.EventType)
			case svc.SessionChange:
				m.tell(SessionChange) // whose it was is gone by now: x/sys returns to the system before it hands this on
			default: // not accepted, so not sent
			}
		}
	}
}

func (m *manager) power(event uint32) {
	switch event {
	case pbtSuspend:
		m.tell(Suspend)
	case pbtResumeSuspend, pbtResumeAutomatic:
		m.tell(Resume)
	}
}

// tell passes an event on. Where nobody takes any, the daemon looks around by itself.
func (m *manager) tell(e Event) {
	select {
	case m.events <- e:
	default:
	}
}

// note writes to the event log. A log that takes nothing is no reason to stop.
func (m *manager) note(id uint32, text string) {
	if m.log == nil {
		return
	}
	if id == eventFailed {
		_ = m.log.Error(id, text)
		return
	}
	_ = m.log.Info(id, text)
}

// Announce runs a daemon that is ready for others, and tells the service manager so, if that started it.
func Announce(ctx context.Context, run func(context.Context) error) error {
	if m, ok := ctx.Value(managerKey{}).(*manager); ok {
		m.once.Do(func() { close(m.ready) })
	}
	return run(ctx)
}

// Watch tells handle what happens to the machine until ctx ends, in a daemon that runs as a service. Others are not
// told.
func Watch(ctx context.Context, _ *slog.Logger, handle Handler) error {
	m, ok := ctx.Value(managerKey{}).(*manager)
	if !ok {
		return jobs.Errorf(jobs.Unsupported, "sleep and shutdown are told to services only: this program was started by hand")
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-m.events:
			handle(e)
		}
	}
}
