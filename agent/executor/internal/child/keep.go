package child

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"idlegrid/agent/executor/internal/host"
	"idlegrid/agent/executor/internal/snapshot"
	"idlegrid/agent/executor/internal/wire"
	gridv1 "idlegrid/proto/grid/v1"
)

// keeper makes the checkpoints of one guest.
type keeper struct {
	guest   *guest
	out     *wire.Writer
	unit    []byte        // digest of what the unit is
	started time.Duration // CPU time of this process then
	base    *base         // nil: none was made
	edits   uint64        // of /checkpoint, at the last checkpoint
	refused bool          // it was said why there is none
	err     error         // of the pipe to the parent
}

// base is what is remembered of the last whole state.
type base struct {
	name  []byte
	size  int64
	pages map[uint64][]uint64 // by the section's key: the sums of its pages
}

// baseName is how long the name of a base is.
const baseName = 16

// failed returns the error of the pipe to the parent.
func (k *keeper) failed() error {
	if k == nil {
		return nil
	}
	return k.err
}

// zeros is a page of zeros.
var zeros = make([]byte, snapshot.Page)

// sumSeed is of the sums of pages, which are of this process only. A guest cannot know it, and so not make two
// pages of one sum.
var sumSeed = maphash.MakeSeed()

// sum returns what tells pages apart; that of zeros is 0, whatever their number.
func sum(page []byte) uint64 {
	if bytes.Equal(page, zeros[:len(page)]) {
		return 0
	}
	return max(1, maphash.Bytes(sumSeed, page))
}

// wanted reports whether a checkpoint is due.
func (g *guest) wanted() bool { return g.keep != nil && g.program.due.Load() != notDue }

// keepFiles makes a checkpoint of /checkpoint if one is due, none of its files is being written, and there is
// anything new.
func (g *guest) keepFiles() {
	if !g.wanted() || g.kept.Writing() || g.kept.Edits() == g.keep.edits {
		return
	}
	g.keep.make(nil)
}

// save makes a checkpoint of the memory if one is due. The guest is not in the middle of anything but a call of
// which stack has the frames.
func (g *guest) save() {
	if g.wanted() && g.savable() {
		g.keep.make(nil)
	}
}

// savable reports whether a checkpoint of the memory can be made now, and tells the parent why not.
func (g *guest) savable() bool {
	var why string
	switch {
	case g.program.exposed.fault != nil:
		why = g.program.exposed.fault.Error()
	case g.session.Open() > 0:
		why = fmt.Sprintf("%d files or folders are open", g.session.Open())
	default:
		return true
	}
	g.keep.refuse(why)
	return false
}

// refuse tells the parent why there is no checkpoint, once for each that is due.
func (k *keeper) refuse(why string) {
	if !k.refused && k.err == nil {
		k.refused = true
		k.err = k.send(&gridv1.ExecutorCheckpoint{Refused: Text(why)})
	}
}

func (k *keeper) send(c *gridv1.ExecutorCheckpoint) error {
	return k.out.Send(&gridv1.ExecutorReply{Reply: &gridv1.ExecutorReply_Checkpoint{Checkpoint: c}})
}

// make makes a checkpoint of the state, and of the guest's frames if it is in the middle of a call.
func (k *keeper) make(stack []byte) {
	if k.err != nil {
		return
	}
	whole := k.guest.program.due.Swap(notDue) == dueWhole
	k.refused = false
	if k.guest.kept != nil {
		k.edits = k.guest.kept.Edits()
	}
	state := k.guest.state(stack)
	state.Unit = k.unit
	parts := k.guest.parts()
	for _, p := range parts {
		state.Sections = append(state.Sections, p.section)
	}
	now, changed := sums(parts, k.base)
	if k.base == nil || whole || changed > k.base.size/2 {
		k.base = &base{name: make([]byte, baseName), pages: now}
		_, _ = rand.Read(k.base.name) // never fails
		state.Base = k.base.name
		k.base.size = k.write(state, parts, nil)
		return
	}
	state.Base, state.Changes = k.base.name, true
	k.write(state, parts, &changes{now: now, base: k.base})
}

// part is a section and where its bytes come from.
type part struct {
	section *gridv1.ExecutorSection
	page    func(n int) []byte // good until the next call
}

// parts returns all sections of the guest's state.
func (g *guest) parts() []part {
	var parts []part
	add := func(key uint64, size int64, readAt func([]byte, int64) int) {
		page := func(n int) []byte {
			buf := g.program.pageBuffer()[:snapshot.Length(size, n)]
			readAt(buf, int64(n)*snapshot.Page)
			return buf
		}
		parts = append(parts, part{section: &gridv1.ExecutorSection{Key: key, Size: size}, page: page})
	}
	files := g.kept
	if files == nil {
		memory := g.program.memory.reserved[:g.program.memory.used]
		parts = append(parts, part{
			section: &gridv1.ExecutorSection{Key: snapshot.KeyMemory, Size: int64(len(memory))},
			page:    func(n int) []byte { return memory[n*snapshot.Page:][:snapshot.Page] },
		})
		add(snapshot.KeyStdout, g.stdout.log.Size(), g.stdout.log.ReadAt)
		add(snapshot.KeyStderr, g.stderr.log.Size(), g.stderr.log.ReadAt)
		files = g.out
	}
	for _, n := range files.Nodes() {
		add(snapshot.KeyInode+n.Ino, n.Size, n.ReadAt)
		last := parts[len(parts)-1].section
		last.Path, last.Directory = n.Path, n.Dir
	}
	return parts
}

func (p *program) pageBuffer() []byte {
	if p.page == nil {
		p.page = make([]byte, snapshot.Page)
	}
	return p.page
}

// state returns what of the guest's state is in no section.
func (g *guest) state(stack []byte) *gridv1.ExecutorState {
	if g.kept != nil {
		return &gridv1.ExecutorState{LastInode: g.kept.LastIno()}
	}
	random, err := g.random.MarshalBinary()
	if err != nil {
		panic(err) // it is an array of its own
	}
	s := &gridv1.ExecutorState{
		Stack: stack, Random: random, ClockNs: g.clock.now, LastInode: g.out.LastIno(),
		MemoryRefused: g.program.memory.refused, Refusal: g.session.Refusal,
		StdoutOver: g.stdout.over, StderrOver: g.stderr.over,
	}
	if g.stdin != nil {
		s.StdinOffset = g.stdin.offset
	}
	for _, name := range g.program.exposed.globals {
		s.Globals = append(s.Globals, g.module.ExportedGlobal(name).Get())
	}
	return s
}

// sums returns the sums of all pages, and how many bytes differ from the base.
func sums(parts []part, from *base) (now map[uint64][]uint64, changed int64) {
	now = make(map[uint64][]uint64, len(parts))
	for _, p := range parts {
		key, size := p.section.GetKey(), p.section.GetSize()
		list := make([]uint64, snapshot.Pages(size))
		for i := range list {
			list[i] = sum(p.page(i))
			if list[i] != from.sum(key, i) && list[i] != 0 {
				changed += int64(snapshot.Length(size, i))
			}
		}
		now[key] = list
	}
	return now, changed
}

// sum returns the sum of a page of the base; what it does not have is zeros.
func (b *base) sum(key uint64, page int) uint64 {
	if b == nil || page >= len(b.pages[key]) {
		return 0
	}
	return b.pages[key][page]
}

// changes say which pages are written to a file of changes.
type changes struct {
	now  map[uint64][]uint64
	base *base
}

// write writes a file to the parent, and returns its size. With nil changes it is one of a whole state.
func (k *keeper) write(state *gridv1.ExecutorState, parts []part, c *changes) int64 {
	to := &pieces{keeper: k, whole: c == nil}
	buffer := bufio.NewWriterSize(to, wire.Piece)
	w, err := snapshot.NewWriter(buffer, state)
	if err != nil {
		k.base = nil
		k.err = k.send(&gridv1.ExecutorCheckpoint{Refused: Text(err.Error()), Last: true})
		return 0
	}
	for i, p := range parts {
		if err := writePart(w, i, p, c); err != nil {
			k.err = err
			return 0
		}
	}
	if err := w.End(); err != nil {
		k.err = err
		return 0
	}
	to.last = true // the end mark at least is still in the buffer
	k.err = buffer.Flush()
	return to.size
}

func writePart(w *snapshot.Writer, index int, p part, c *changes) error {
	key := p.section.GetKey()
	for i := range snapshot.Pages(p.section.GetSize()) {
		page := p.page(i)
		switch {
		case c != nil && c.now[key][i] == c.base.sum(key, i):
			continue
		case bytes.Equal(page, zeros[:len(page)]):
			page = nil
		}
		if page == nil && c == nil {
			continue
		}
		if err := w.Page(index, i, page); err != nil {
			return err
		}
	}
	return nil
}

// pieces sends a file to the parent.
type pieces struct {
	keeper *keeper
	whole  bool
	last   bool
	size   int64
}

// Write sends b. The last one is no longer than the buffer, which is a piece.
func (p *pieces) Write(b []byte) (int, error) {
	for piece := range slices.Chunk(b, wire.Piece) {
		c := &gridv1.ExecutorCheckpoint{Whole: p.whole, Data: piece, Last: p.last}
		if p.last {
			c.CpuUs = uint64(max(0, host.CPUTime()-p.keeper.started).Microseconds())
		}
		if err := p.keeper.send(c); err != nil {
			return 0, err
		}
	}
	p.size += int64(len(b))
	return len(b), nil
}
