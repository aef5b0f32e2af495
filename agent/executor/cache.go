package executor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"idlegrid/agent/executor/internal/child"
)

const (
	// maxCached bounds the compiled programs that are kept, the last used ones.
	maxCached = 32
	// compiling is how the folder of a compilation begins while it is under way.
	compiling = "compiling-"
	// staleAfter is when such a folder was left by a process that was killed.
	staleAfter = 24 * time.Hour
)

// cache keeps compiled programs, a folder each, on disk. Several processes may use one folder: a compilation
// is renamed into its place when it is complete, and it does not matter whose wins.
type cache struct {
	dir   string
	start func(context.Context) (*process, error)
	end   func(*process)
	turn  chan struct{} // one compilation at a time
}

// compiled returns the folder with the compiled program, which it makes if need be.
func (c *cache) compiled(ctx context.Context, prog *Program) (string, error) {
	// The folder also bears what rewrote and compiled it: after an update everything is compiled again.
	dir := filepath.Join(c.dir, prog.Digest.String()+"-"+strings.ReplaceAll(Runtime(), " ", "-")+"-"+child.Rewriting)
	if found, err := touch(dir); found || err != nil {
		return dir, err
	}
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	if found, err := touch(dir); found || err != nil {
		return dir, err
	}
	return dir, c.compile(ctx, prog, dir)
}

// touch reports whether the folder is there, and makes it the last used one.
func touch(dir string) (bool, error) {
	now := time.Now()
	err := os.Chtimes(dir, now, now)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// compile compiles the program in a child of its own, since a compiler is code that runs on a stranger's
// bytes.
func (c *cache) compile(ctx context.Context, prog *Program, dir string) (err error) {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of compiled programs: %w", err)
	}
	if err := c.trim(); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(c.dir, compiling)
	if err != nil {
		return fmt.Errorf("compile a program: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	p, err := c.start(ctx)
	if err != nil {
		return err
	}
	defer c.end(p)
	if err := p.load(ctx, prog, loadOptions{cache: tmp, compileOnly: true}); err != nil {
		return err
	}
	if err := os.Rename(tmp, dir); err != nil {
		if found, _ := touch(dir); !found {
			return fmt.Errorf("keep a compiled program: %w", err)
		}
	}
	return nil
}

// trim deletes what is left of broken compilations, and the least recently used programs beyond the bound.
// Children that run one of them have read it already.
func (c *cache) trim() error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return fmt.Errorf("list the compiled programs: %w", err)
	}
	var kept []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // another process has deleted it
		}
		if !strings.HasPrefix(e.Name(), compiling) {
			kept = append(kept, info)
		} else if time.Since(info.ModTime()) > staleAfter {
			err = os.RemoveAll(filepath.Join(c.dir, e.Name()))
		}
		if err != nil {
			return fmt.Errorf("delete a broken compilation: %w", err)
		}
	}
	slices.SortFunc(kept, func(a, b fs.FileInfo) int { return cmp.Compare(a.ModTime().UnixNano(), b.ModTime().UnixNano()) })
	for len(kept) >= maxCached {
		if err := os.RemoveAll(filepath.Join(c.dir, kept[0].Name())); err != nil {
			return fmt.Errorf("delete a compiled program: %w", err)
		}
		kept = kept[1:]
	}
	return nil
}
