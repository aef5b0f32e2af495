package session

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/jezek/xgb"
	"github.com/jezek/xgb/screensaver"
	"github.com/jezek/xgb/xproto"
)

// x11 asks an X server, which also knows whether the window in front fills the screen.
type x11 struct {
	conn                       *xgb.Conn
	root                       xproto.Window
	active, states, fullScreen xproto.Atom
}

func openX11(context.Context, *dbus.Conn) (idler, error) {
	if !x11Only() {
		return nil, errors.New("this is no desktop of X11")
	}
	conn, err := xgb.NewConnDisplay(os.Getenv("DISPLAY"))
	if err != nil {
		return nil, err
	}
	x := &x11{conn: conn, root: xproto.Setup(conn).DefaultScreen(conn).Root}
	if err := x.prepare(); err != nil {
		conn.Close()
		return nil, err
	}
	return x, nil
}

func (x *x11) prepare() error {
	if err := screensaver.Init(x.conn); err != nil {
		return err
	}
	for name, atom := range map[string]*xproto.Atom{
		"_NET_ACTIVE_WINDOW": &x.active, "_NET_WM_STATE": &x.states, "_NET_WM_STATE_FULLSCREEN": &x.fullScreen,
	} {
		reply, err := xproto.InternAtom(x.conn, false, uint16(len(name)), name).Reply()
		if err != nil {
			return fmt.Errorf("ask for %s: %w", name, err)
		}
		*atom = reply.Atom
	}
	_, err := screensaver.QueryInfo(x.conn, xproto.Drawable(x.root)).Reply()
	return err
}

// idle asks the server. When it is gone, so is the session.
func (x *x11) idle(context.Context) (state, error) {
	info, err := screensaver.QueryInfo(x.conn, xproto.Drawable(x.root)).Reply()
	if err != nil || info == nil {
		return state{}, errEnded
	}
	full := x.fills()
	return state{input: ago(time.Duration(info.MsSinceUserInput) * time.Millisecond), presenting: &full}, nil
}

// fills reports whether the window in front fills the screen. What cannot be asked, such as a window that is just
// closed, does not.
func (x *x11) fills() bool {
	windows := x.property(x.root, x.active, xproto.AtomWindow)
	if len(windows) == 0 || windows[0] == 0 {
		return false
	}
	for _, atom := range x.property(xproto.Window(windows[0]), x.states, xproto.AtomAtom) {
		if xproto.Atom(atom) == x.fullScreen {
			return true
		}
	}
	return false
}

// property returns the numbers of a property, at most 32.
func (x *x11) property(of xproto.Window, name, kind xproto.Atom) []uint32 {
	reply, err := xproto.GetProperty(x.conn, false, of, name, kind, 0, 32).Reply()
	if err != nil || reply == nil || reply.Format != 32 {
		return nil
	}
	var all []uint32
	for i := 0; i+4 <= len(reply.Value); i += 4 {
		all = append(all, binary.LittleEndian.Uint32(reply.Value[i:])) // xgb asks the server for this order
	}
	return all
}

func (*x11) input() <-chan struct{} { return nil }

func (x *x11) close() error {
	x.conn.Close()
	return nil
}
