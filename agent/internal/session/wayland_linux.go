package session

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

// The objects of this client, which numbers them itself.
const (
	waylandDisplay = iota + 1
	waylandRegistry
	waylandSync
	waylandNotifier
	waylandSeat
	waylandNotification
)

// Requests and events have numbers by their order in the protocol's files.
const (
	displaySync, displayRegistry = 0, 1
	registryBind                 = 0
	notifierGet, notifierGetPure = 1, 2 // the second, of version 2, leaves out programs that keep the screen on

	displayError       = 0
	registryGlobal     = 0
	syncDone           = 0
	idled, resumed     = 0, 1
	maxWaylandMessage  = 4096 // libwayland's own bound
	waylandHeader      = 8
	waylandWord        = 4
	waylandBindVersion = 1
)

// wayland speaks as much of Wayland as the protocol ext-idle-notify-v1 needs, which KDE and the compositors made with
// wlroots have: there is no library for it that is kept well. Idle begins after a beat without input.
type wayland struct {
	conn   net.Conn
	inputs chan struct{}
	ready  chan error // the first answer

	mu    sync.Mutex
	since time.Time // guarded by mu: when input ended; zero: it goes on
	err   error     // guarded by mu: why nothing comes any more
}

func openWayland(ctx context.Context, _ *dbus.Conn) (idler, error) {
	path := os.Getenv("WAYLAND_DISPLAY")
	if path == "" {
		return nil, errors.New("this is no desktop of Wayland")
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), path)
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	w := &wayland{conn: conn, inputs: make(chan struct{}, 1), ready: make(chan error, 1)}
	go w.receive()
	err = errors.Join(w.send(waylandDisplay, displayRegistry, word(waylandRegistry)), w.send(waylandDisplay, displaySync, word(waylandSync)))
	if err == nil {
		select {
		case err = <-w.ready:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return w, nil
}

// receive takes events until the connection ends.
func (w *wayland) receive() {
	globals := map[string][2]uint32{} // the number and version of what is offered
	for {
		object, event, args, err := readWayland(w.conn)
		if err == nil {
			err = w.handle(object, event, args, globals)
		}
		if err != nil {
			w.mu.Lock()
			w.err = err
			w.mu.Unlock()
			w.answer(err)
			w.tell()
			return
		}
	}
}

func (w *wayland) handle(object, event uint32, args []byte, globals map[string][2]uint32) error {
	switch {
	case object == waylandDisplay && event == displayError:
		return fmt.Errorf("the compositor refuses: %.200q", args)
	case object == waylandRegistry && event == registryGlobal:
		name, kind, version, err := readGlobal(args)
		if err != nil {
			return err
		}
		if _, known := globals[kind]; !known && (kind == "wl_seat" || kind == "ext_idle_notifier_v1") {
			globals[kind] = [2]uint32{name, version}
		}
	case object == waylandSync && event == syncDone:
		err := w.bind(globals)
		w.answer(err)
		return err
	case object == waylandNotification && event == idled:
		w.set(time.Now().Add(-beat))
	case object == waylandNotification && event == resumed:
		w.set(time.Time{})
		w.tell()
	}
	return nil
}

// bind asks to be told of input at the first seat, when all is listed that the compositor has.
func (w *wayland) bind(globals map[string][2]uint32) error {
	notifier, ok := globals["ext_idle_notifier_v1"]
	seat, seated := globals["wl_seat"]
	if !ok || !seated {
		return errors.New("the compositor does not have it")
	}
	version, get := uint32(1), uint32(notifierGet)
	if notifier[1] >= 2 {
		version, get = 2, notifierGetPure
	}
	return errors.Join(
		w.send(waylandRegistry, registryBind, word(notifier[0]), text("ext_idle_notifier_v1"), word(version), word(waylandNotifier)),
		w.send(waylandRegistry, registryBind, word(seat[0]), text("wl_seat"), word(waylandBindVersion), word(waylandSeat)),
		w.send(waylandNotifier, get, word(waylandNotification), word(uint32(beat/time.Millisecond)), word(waylandSeat)),
	)
}

func (w *wayland) set(since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.since = since
}

func (w *wayland) tell() {
	select {
	case w.inputs <- struct{}{}:
	default: // it is said already
	}
}

// answer gives the first answer; later ones are for idle.
func (w *wayland) answer(err error) {
	select {
	case w.ready <- err:
	default:
	}
}

// idle returns what the events said. When the compositor is gone, so is the session.
func (w *wayland) idle(context.Context) (state, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return state{}, fmt.Errorf("%w: %w", errEnded, w.err)
	}
	if w.since.IsZero() {
		return state{input: ago(0)}, nil
	}
	since := w.since
	return state{input: &since}, nil
}

func (w *wayland) input() <-chan struct{} { return w.inputs }

func (w *wayland) close() error { return w.conn.Close() }

func (w *wayland) send(object, request uint32, args ...[]byte) error {
	m := binary.NativeEndian.AppendUint32(nil, object)
	m = append(m, 0, 0, 0, 0)
	for _, a := range args {
		m = append(m, a...)
	}
	binary.NativeEndian.PutUint32(m[waylandWord:], uint32(len(m))<<16|request)
	_, err := w.conn.Write(m)
	return err
}

func word(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// text is its length with a zero at the end, the bytes, and zeros up to a whole word.
func text(s string) []byte {
	b := append(word(uint32(len(s)+1)), s...)
	b = append(b, 0)
	for len(b)%waylandWord != 0 {
		b = append(b, 0)
	}
	return b
}

func readWayland(r io.Reader) (object, event uint32, args []byte, err error) {
	var head [waylandHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, 0, nil, err
	}
	object, second := binary.NativeEndian.Uint32(head[:]), binary.NativeEndian.Uint32(head[waylandWord:])
	size := second >> 16
	if size < waylandHeader || size > maxWaylandMessage {
		return 0, 0, nil, fmt.Errorf("a message of %d bytes", size)
	}
	args = make([]byte, size-waylandHeader)
	_, err = io.ReadFull(r, args)
	return object, second & 0xffff, args, err
}

// readGlobal reads what is offered: a number, what it is, and its version.
func readGlobal(args []byte) (name uint32, kind string, version uint32, err error) {
	const fixed = 3 * waylandWord
	if len(args) < fixed {
		return 0, "", 0, io.ErrUnexpectedEOF
	}
	name, length := binary.NativeEndian.Uint32(args), binary.NativeEndian.Uint32(args[waylandWord:])
	rest := args[2*waylandWord:]
	padded := (uint64(length) + waylandWord - 1) / waylandWord * waylandWord
	if length == 0 || padded+waylandWord != uint64(len(rest)) {
		return 0, "", 0, errors.New("an offer of a wrong length")
	}
	return name, string(rest[:length-1]), binary.NativeEndian.Uint32(rest[padded:]), nil
}
