package child

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"reflect"
	"slices"

	"idlegrid/agent/executor/internal/guestfs"
	"idlegrid/agent/executor/internal/host"
	"idlegrid/agent/executor/internal/snapshot"
	"idlegrid/agent/executor/internal/wire"
	gridv1 "idlegrid/proto/grid/v1"

	"github.com/tetratelabs/wazero/api"
)

// prepare makes the guest ready for checkpoints, and opens the one to go on from, if there is one.
func (g *guest) prepare(r *gridv1.ExecutorRun, out *wire.Writer) (*resume, error) {
	files := r.GetResume()
	if !r.GetSave() && len(files) == 0 {
		return nil, nil //nolint:nilnil // nothing to go on from is no error
	}
	if g.kept == nil {
		g.stdout.log, g.stderr.log = guestfs.NewLog(&g.program.chunks), guestfs.NewLog(&g.program.chunks)
	}
	// It is a keeper even where nobody wants checkpoints, for it remembers the base.
	keep := &keeper{guest: g, out: out, unit: g.identity(r), started: host.CPUTime()}
	if len(files) == 0 {
		g.keep = keep
		return nil, nil //nolint:nilnil // as above
	}
	from, err := openResume(g, keep, files)
	if err == nil {
		from.save = r.GetSave()
	}
	return from, err
}

// identity is the digest of what the unit is: the program, its arguments, environment and seed, and the names of
// the inputs.
func (g *guest) identity(r *gridv1.ExecutorRun) []byte {
	h := sha256.New()
	add := func(b []byte) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	add(g.program.digest[:])
	add(r.GetSeed())
	add(binary.BigEndian.AppendUint64(nil, uint64(len(r.GetArgs()))))
	for _, arg := range r.GetArgs() {
		add([]byte(arg))
	}
	for _, v := range r.GetEnv() {
		add([]byte(v.GetName()))
		add([]byte(v.GetValue()))
	}
	return h.Sum(nil)
}

// resume is a checkpoint that a guest goes on from.
type resume struct {
	guest *guest
	keep  *keeper
	save  bool // checkpoints may be asked for: keep is the guest's when its state is complete
	files []*resumeFile
}

// resumeFile is one file of it while it is read.
type resumeFile struct {
	file   *os.File
	digest []byte
	sum    hash.Hash
	reader *snapshot.Reader
	state  *gridv1.ExecutorState
}

func openResume(g *guest, k *keeper, files []*gridv1.ExecutorResume) (r *resume, err error) {
	r = &resume{guest: g, keep: k}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if len(files) > 2 {
		return nil, fmt.Errorf("a checkpoint of %d files, expected a whole state and at most one of changes", len(files))
	}
	for i, from := range files {
		f := &resumeFile{digest: from.GetDigest(), sum: sha256.New()}
		if f.file, err = os.Open(from.GetSource()); err != nil {
			return r, err
		}
		r.files = append(r.files, f)
		if f.reader, f.state, err = snapshot.NewReader(io.TeeReader(io.LimitReader(f.file, from.GetSize()+1), f.sum)); err != nil {
			return r, err
		}
		if f.state.GetChanges() != (i > 0) {
			return r, errors.New("a whole state and changes are in each other's place")
		}
		if err := g.fits(f.state, k.unit); err != nil {
			return r, err
		}
	}
	if !slices.Equal(r.base().GetBase(), r.state().GetBase()) {
		return r, errors.New("the changes are those of another whole state")
	}
	return r, nil
}

func (r *resume) base() *gridv1.ExecutorState { return r.files[0].state }

// state is what the guest goes on from.
func (r *resume) state() *gridv1.ExecutorState { return r.files[len(r.files)-1].state }

// close closes the files. A nil resume has none.
func (r *resume) close() {
	if r == nil {
		return
	}
	for _, f := range r.files {
		_ = f.file.Close() // it was only read
	}
}

// fits returns an error unless a state is of this unit and within its limits.
func (g *guest) fits(s *gridv1.ExecutorState, unit []byte) error {
	if !slices.Equal(s.GetUnit(), unit) {
		return errors.New("the checkpoint is of another unit or another program")
	}
	if g.kept == nil && g.program.exposed.fault != nil {
		return g.program.exposed.fault
	}
	if len(s.GetGlobals()) != len(g.program.exposed.globals) && g.kept == nil {
		return fmt.Errorf("the checkpoint has %d globals, the program %d", len(s.GetGlobals()), len(g.program.exposed.globals))
	}
	limits := g.program.limits
	most := map[uint64]int64{
		snapshot.KeyMemory: int64(g.program.memory.limit),
		snapshot.KeyStdout: limits.GetStdout(),
		snapshot.KeyStderr: limits.GetStderr() + int64(len(CutMark(limits.GetStderr()))),
	}
	files, bytes := int64(0), int64(0)
	for _, section := range s.GetSections() {
		key, size := section.GetKey(), section.GetSize()
		if key >= snapshot.KeyInode {
			if size > limits.GetOutBytes() { // else the sum might be beyond all numbers
				return fmt.Errorf("the checkpoint has a file of %d bytes, the unit may have %d", size, limits.GetOutBytes())
			}
			files, bytes = files+1, bytes+size
			continue
		}
		if g.kept != nil || size > most[key] {
			return fmt.Errorf("section %d of the checkpoint has %d bytes, the unit may have %d", key, size, most[key])
		}
	}
	if files > limits.GetOutFiles() || bytes > limits.GetOutBytes() {
		return fmt.Errorf("the checkpoint has %d files with %d bytes, the unit may have %d and %d", files, bytes, limits.GetOutFiles(), limits.GetOutBytes())
	}
	if len(s.GetStack()) > maxFrames || (len(s.GetStack()) > 0) != (g.program.way == WayCall) {
		return fmt.Errorf("the checkpoint has %d bytes of frames", len(s.GetStack()))
	}
	return nil
}

// restore makes the guest's state that of the checkpoint. After an error the guest must not run.
func (r *resume) restore() error {
	targets, err := r.prepareState()
	if err != nil {
		return err
	}
	remembered := &base{name: r.base().GetBase(), pages: make(map[uint64][]uint64)}
	for _, section := range r.base().GetSections() {
		remembered.pages[section.GetKey()] = make([]uint64, snapshot.Pages(section.GetSize()))
	}
	for i, f := range r.files {
		err := f.each(func(key uint64, page int, data []byte) error {
			if i == 0 {
				remembered.pages[key][page] = sum(data)
			}
			write := targets[key]
			if write == nil && i > 0 {
				return fmt.Errorf("section %d is in no state", key)
			}
			if write != nil {
				write(page, data)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	info, err := r.files[0].file.Stat()
	if err != nil {
		return err
	}
	remembered.size = info.Size()
	r.keep.base = remembered
	if kept := r.guest.kept; kept != nil {
		r.keep.edits = kept.Edits()
	}
	if err := r.finish(); err != nil {
		return err
	}
	if r.save {
		r.guest.keep = r.keep
	}
	return nil
}

// each calls do with each page of a file, and returns an error unless the file has its digest.
func (f *resumeFile) each(do func(key uint64, page int, data []byte) error) error {
	for {
		section, page, data, err := f.reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		s := f.state.GetSections()[section]
		if data == nil {
			data = zeros[:snapshot.Length(s.GetSize(), page)]
		}
		if err := do(s.GetKey(), page, data); err != nil {
			return err
		}
	}
	if sum := f.sum.Sum(nil); !slices.Equal(sum, f.digest) {
		return fmt.Errorf("the bytes of %s are not those of digest %x", f.file.Name(), f.digest)
	}
	return nil
}

// prepareState makes place for the state's sections, and returns what writes a page of each.
func (r *resume) prepareState() (map[uint64]func(page int, data []byte), error) {
	g, s := r.guest, r.state()
	targets := make(map[uint64]func(int, []byte))
	// A page of the base may reach past the end of a section that has shrunk since.
	target := func(key uint64, size int64, write func([]byte, int64)) {
		targets[key] = func(page int, data []byte) {
			if at := int64(page) * snapshot.Page; at < size {
				write(data[:min(int64(len(data)), size-at)], at)
			}
		}
	}
	files, paths := g.out, make(map[uint64]guestfs.Node)
	if g.kept != nil {
		files = g.kept
	}
	for _, section := range s.GetSections() {
		key, size := section.GetKey(), section.GetSize()
		switch key {
		case snapshot.KeyMemory:
			if err := g.growTo(uint64(size)); err != nil {
				return nil, err
			}
			target(key, size, func(data []byte, at int64) { copy(g.program.memory.reserved[at:], data) })
		case snapshot.KeyStdout:
			g.stdout.log.Restore(size)
			target(key, size, g.stdout.log.Write)
		case snapshot.KeyStderr:
			g.stderr.log.Restore(size)
			target(key, size, g.stderr.log.Write)
		default:
			n := guestfs.Node{Path: section.GetPath(), Ino: key - snapshot.KeyInode, Dir: section.GetDirectory(), Size: size}
			paths[key] = n
		}
	}
	nodes := make([]guestfs.Node, 0, len(paths))
	for _, n := range paths {
		nodes = append(nodes, n)
	}
	if err := files.Restore(nodes, s.GetLastInode()); err != nil {
		return nil, err
	}
	for _, n := range files.Nodes() {
		if !n.Dir {
			target(snapshot.KeyInode+n.Ino, n.Size, func(data []byte, at int64) { files.Write(n, data, at) })
		}
	}
	return targets, nil
}

// growTo makes the guest's memory have that size and hold zeros.
func (g *guest) growTo(size uint64) error {
	m := g.program.memory
	if size < m.used {
		return fmt.Errorf("the checkpoint has %d bytes of memory, the program begins with %d", size, m.used)
	}
	if size > m.used {
		memory := g.module.Memory()
		if memory == nil || reflect.ValueOf(memory).IsNil() {
			return errors.New("the checkpoint has memory, and the program none")
		}
		if _, ok := memory.Grow(uint32((size - m.used) / wasmPage)); !ok {
			return fmt.Errorf("the memory does not grow to the checkpoint's %d bytes", size)
		}
	}
	for page := range slices.Chunk(m.reserved[:m.used], wasmPage) {
		if sum(page) != 0 { // else the system would have to take it for nothing
			clear(page)
		}
	}
	return nil
}

// finish sets what is in no section.
func (r *resume) finish() error {
	g, s := r.guest, r.state()
	if g.kept != nil {
		return nil // the guest begins anew with the files
	}
	if err := g.random.UnmarshalBinary(s.GetRandom()); err != nil {
		return fmt.Errorf("the state of the random source: %w", err)
	}
	if err := g.seekStdin(s.GetStdinOffset()); err != nil {
		return err
	}
	for i, name := range g.program.exposed.globals {
		global, ok := g.module.ExportedGlobal(name).(api.MutableGlobal)
		if !ok {
			return fmt.Errorf("%s cannot be set", name)
		}
		global.Set(s.GetGlobals()[i])
	}
	g.clock.now = s.GetClockNs()
	g.program.memory.refused, g.session.Refusal = s.GetMemoryRefused(), s.GetRefusal()
	g.stdout.restore(s.GetStdoutOver())
	g.stderr.restore(s.GetStderrOver())
	g.frames.restore(s.GetStack())
	return nil
}

func (g *guest) seekStdin(offset int64) error {
	if g.stdin == nil {
		if offset > 0 {
			return errors.New("the checkpoint is of a unit with standard input")
		}
		return nil
	}
	g.stdin.offset = offset
	_, err := g.stdin.file.Seek(offset, io.SeekStart)
	return err
}
