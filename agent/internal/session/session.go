// Package session is the helper in a user's session: it tells the agent on the same PC when a key or the pointer was
// used, whether the screen is locked, and whether something is shown to others. It tells how long ago, and nothing
// else: no keys, no windows, no names. It never opens an input device; it asks the desktop.
//
// With no agent there, or no desktop that it knows, it tries again later. It ends when the session ends.
package session

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"idlegrid/agent/internal/local"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// beat is how often the agent is told when nothing happens; what is older than five of these counts no more. rest is
	// the same while nothing runs there or is frozen: each report wakes two programs.
	beat = time.Second
	rest = 2 * time.Second
	// closely is how often a desktop without events is asked while the agent says that it matters.
	closely = 50 * time.Millisecond
	// lookTimeout bounds one look: whoever takes longer hangs.
	lookTimeout = 2 * time.Second
	// firstRetry and lastRetry are how long is waited for an agent or a desktop that is not there.
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
	// lasting is how long reports went well when the next failure is a new one.
	lasting = time.Minute
)

// errEnded says that the session is over.
var errEnded = errors.New("the session has ended")

// state is what a session is like at a moment. nil: it does not say.
type state struct {
	input              *time.Time // when a key or the pointer was used last
	locked, presenting *bool
}

// desktop is what a session's desktop tells.
type desktop interface {
	// look returns what the session is like now. An error that is errEnded says that it is over.
	look(ctx context.Context) (state, error)
	// input tells of input after some time without. It is nil where the desktop has to be asked.
	input() <-chan struct{}
	close() error
}

// Run reports to the agent that listens at a socket until the context or the session ends.
func Run(ctx context.Context, socket string, log *slog.Logger) error {
	return run(ctx, socket, log, func(ctx context.Context) (desktop, error) { return openDesktop(ctx, log) })
}

func run(ctx context.Context, socket string, log *slog.Logger, open func(context.Context) (desktop, error)) error {
	cc, err := local.Dial(socket)
	if err != nil {
		return err
	}
	defer cc.Close()
	wait, said := firstRetry, ""
	for {
		begun := time.Now()
		err := once(ctx, cc, open)
		if ctx.Err() != nil || errors.Is(err, errEnded) {
			return nil
		}
		if jobs.KindOf(err) == jobs.Unsupported {
			return err
		}
		if time.Since(begun) > lasting {
			wait, said = firstRetry, ""
		}
		if err.Error() != said { // the same every half a minute helps nobody
			said = err.Error()
			log.Info("does not report now", "error", err, "again_in", wait)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, lastRetry)
	}
}

// once reports over one stream until something fails.
func once(ctx context.Context, cc *grpc.ClientConn, open func(context.Context) (desktop, error)) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d, err := open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	stream, err := gridv1.NewSessionClient(cc).Report(ctx)
	if err != nil {
		return rpc.FromStatus(err)
	}
	r := &reporter{desktop: d, stream: stream, asks: make(chan bool), lost: make(chan error, 1)}
	go r.receive(ctx)
	return r.report(ctx)
}

// reporter sends what a desktop tells.
type reporter struct {
	desktop desktop
	stream  grpc.BidiStreamingClient[gridv1.SessionReport, gridv1.SessionAsk]
	asks    chan bool  // whether to look closely
	lost    chan error // why the agent is gone

	last  state
	sent  time.Time
	every time.Duration // beat or rest
}

// receive ends with the stream.
func (r *reporter) receive(ctx context.Context) {
	for {
		ask, err := r.stream.Recv()
		if err != nil {
			r.lost <- rpc.FromStatus(err)
			return
		}
		select {
		case r.asks <- ask.GetClosely():
		case <-ctx.Done():
			return
		}
	}
}

func (r *reporter) report(ctx context.Context) error {
	r.every = beat
	ticker := time.NewTicker(r.every)
	defer ticker.Stop()
	for {
		if err := r.look(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-r.lost:
			return err
		case <-ticker.C:
		case <-r.desktop.input():
			// Said before anything is asked: this is what is in a hurry.
			s := r.last
			s.input = ago(0)
			if err := r.send(s); err != nil {
				return err
			}
		case matters := <-r.asks:
			switch r.every = beat; {
			case !matters:
				r.every = rest
				ticker.Reset(rest)
			case r.desktop.input() == nil:
				ticker.Reset(closely)
			default:
				ticker.Reset(beat)
			}
		}
	}
}

// look asks the desktop and sends what is news, or due.
func (r *reporter) look(ctx context.Context) error {
	timely, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	s, err := r.desktop.look(timely)
	if err != nil {
		return err
	}
	// A little before its time is on time.
	if !news(r.last, s) && time.Since(r.sent) < r.every-closely/2 {
		return nil
	}
	return r.send(s)
}

func (r *reporter) send(s state) error {
	now := time.Now()
	m := &gridv1.SessionReport{Locked: s.locked, Presenting: s.presenting}
	if s.input != nil {
		idle := uint64(max(0, now.Sub(*s.input)) / time.Millisecond)
		m.IdleMs = &idle
	}
	if err := r.stream.Send(m); err != nil {
		return rpc.FromStatus(<-r.lost) // Send says io.EOF only; Recv says why
	}
	r.last, r.sent = s, now
	return nil
}

// news reports whether the agent is to know at once what changed. While somebody types, once in a beat is enough.
func news(before, now state) bool {
	if (before.input == nil) != (now.input == nil) || differ(before.locked, now.locked) || differ(before.presenting, now.presenting) {
		return true
	}
	return now.input != nil && now.input.Sub(*before.input) >= beat
}

func differ(a, b *bool) bool { return (a == nil) != (b == nil) || a != nil && *a != *b }

func ago(idle time.Duration) *time.Time {
	at := time.Now().Add(-max(0, idle))
	return &at
}
