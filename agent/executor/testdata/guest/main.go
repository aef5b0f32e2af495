// Command guest does what its first argument says, for the tests of the executor.
package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func main() {
	args := os.Args[1:]
	if args[0] == "pick" { // pick N LINE...: does what the Nth line says
		args = strings.Fields(args[2:][number(args[1])])
	}
	verb := verbs()[args[0]]
	if verb == nil {
		fmt.Fprintln(os.Stderr, "no such verb")
		os.Exit(99)
	}
	if err := verb(args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(98)
	}
	return n
}

func verbs() map[string]func(args []string) error {
	return map[string]func(args []string) error{
		"echo": echo, "exit": exit, "spin": spin, "alloc": alloc, "recurse": recurse, "panic": panics,
		"flood": flood, "floodstderr": floodStderr, "write": write, "read": read, "random": random,
		"clock": clock, "open": open, "bytes": invalid, "outfs": outfs, "escape": escape, "garbage": garbage,
		"sleep": sleep, "fill": fill, "stdin": stdin, "sayread": sayRead,
		"pour": pour, "create": create, "readon": readOn, "env": env, "keep": keep,
	}
}

func echo(args []string) error {
	fmt.Println(os.Args[0], args, os.Environ())
	return nil
}

func exit(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	os.Exit(n)
	return nil
}

func spin([]string) error {
	fmt.Println("before")
	fmt.Fprintln(os.Stderr, "to stderr")
	for i := 0; ; i++ {
		if i < 0 {
			return nil
		}
	}
}

func alloc(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	b := bytes.Repeat([]byte{1}, n<<20)
	fmt.Println(len(b))
	return nil
}

func recurse([]string) error {
	fmt.Println(deeper(1))
	return nil
}

func deeper(n int) int {
	var pad [64]int
	pad[n%64] = n
	return deeper(n+1) + pad[(n+1)%64]
}

func panics([]string) error { panic("a panic of the guest") }

func flood(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	line := strings.Repeat("x", 1<<10)
	for range n {
		// As most programs do, this one does not look whether it worked.
		os.Stdout.WriteString(line)
	}
	return nil
}

func floodStderr([]string) error {
	line := strings.Repeat("e", 1<<10)
	for range 3 << 10 {
		if _, err := os.Stderr.WriteString(line); err != nil {
			os.Exit(3)
		}
	}
	return nil
}

func write(args []string) error {
	for _, path := range args {
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte("content of "+path), 0o666); err != nil {
			return err
		}
	}
	return nil
}

// pour writes so many MiB to standard output, and does not look whether it worked either.
func pour(args []string) error {
	block := bytes.Repeat([]byte("p"), 1<<20)
	for range number(args[0]) {
		os.Stdout.Write(block)
	}
	return nil
}

// create makes so many files.
func create(args []string) error {
	for i := range number(args[0]) {
		if err := os.WriteFile(fmt.Sprintf("/out/%d", i), nil, 0o666); err != nil {
			return fmt.Errorf("after %d: %w", i, err)
		}
	}
	return nil
}

// readOn reads standard input for ever.
func readOn([]string) error {
	buf := make([]byte, 1)
	for {
		os.Stdin.Read(buf)
	}
}

// env tells how long the variables are.
func env([]string) error {
	fmt.Println(len(strings.Join(os.Environ(), "")))
	return nil
}

// read shows all of /in and a piece from the end of each file.
func read([]string) error {
	return filepath.WalkDir("/in", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			fmt.Println(path)
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		buf := make([]byte, 5)
		n, err := f.ReadAt(buf, max(0, info.Size()-5))
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		fmt.Println(path, info.Size(), string(buf[:n]), info.ModTime().UTC())
		return nil
	})
}

// keep counts to a number, and keeps where it is in /checkpoint, by a new file that takes the place of the old one.
// It says at which number it began.
func keep(args []string) error {
	n, sum := 0, 1
	old, err := os.ReadFile("/checkpoint/state")
	if err == nil {
		_, err = fmt.Sscan(string(old), &n, &sum)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	fmt.Fprintln(os.Stderr, "from", n)
	for n < number(args[0]) {
		n++
		for i := range 1000 {
			sum = sum*31 + n + i
		}
		f, err := os.Create("/checkpoint/new")
		if err != nil {
			return err
		}
		// Half a file at a time: a checkpoint that holds it is worth nothing.
		for _, word := range []int{n, sum} {
			if _, err := fmt.Fprintln(f, word); err != nil {
				return err
			}
		}
		if err := errors.Join(f.Close(), os.Rename("/checkpoint/new", "/checkpoint/state")); err != nil {
			return err
		}
	}
	fmt.Println(sum)
	return nil
}

func stdin([]string) error {
	n, err := io.Copy(os.Stdout, os.Stdin)
	fmt.Println("bytes", n)
	return err
}

// sayRead reads only after it has spoken, so that whoever sees it read knows.
func sayRead([]string) error {
	fmt.Println("to stdout")
	fmt.Fprintln(os.Stderr, "to stderr")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

func random([]string) error {
	b := make([]byte, 16)
	rand.Read(b)
	fmt.Printf("%x %v\n", b, mapOrder())
	return nil
}

// mapOrder depends on the seed of Go's runtime.
func mapOrder() string {
	m := map[int]bool{}
	for i := range 20 {
		m[i] = true
	}
	var s strings.Builder
	for i := range m {
		fmt.Fprint(&s, i, ",")
	}
	return s.String()
}

func clock([]string) error {
	fmt.Println(time.Now().UTC(), time.Now().UTC())
	return nil
}

func sleep([]string) error {
	start := time.Now()
	time.Sleep(10 * time.Hour)
	fmt.Println(time.Since(start) >= 10*time.Hour)
	return nil
}

// open opens the same file many times.
func open(args []string) error {
	for i := range 10_000 {
		if _, err := os.Open(args[0]); err != nil {
			return fmt.Errorf("after %d: %w", i, err)
		}
	}
	return nil
}

func invalid([]string) error {
	os.Stdout.Write([]byte{0xff, 0xfe, 0, 'a'})
	os.Stderr.Write([]byte{0xc0, 0x80})
	return nil
}

// fill writes to /out until there is no space.
func fill(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	block := bytes.Repeat([]byte("o"), 64<<10)
	f, err := os.Create("/out/full")
	if err != nil {
		return err
	}
	for range n {
		if _, err := f.Write(block); err != nil {
			return err
		}
	}
	return f.Close()
}

// outfs tries what an ordinary program does with files.
func outfs([]string) error {
	steps := []func() error{
		func() error { return os.MkdirAll("/out/a/b/c", 0o777) },
		func() error { return os.WriteFile("/out/a/b/one", []byte("0123456789"), 0o666) },
		func() error { return os.Rename("/out/a/b/one", "/out/a/two") },
		func() error { return os.Truncate("/out/a/two", 5) },
		appendTo, seekAround,
		func() error { return expect("/out/a/two", "AB\x00\x004tail") },
		func() error { return os.WriteFile("/out/gone", []byte("x"), 0o666) },
		func() error { return os.Remove("/out/gone") },
		func() error { return os.RemoveAll("/out/a/b") },
		func() error { return os.WriteFile("/out/a/empty", nil, 0o666) },
		func() error { return os.Chtimes("/out/a/empty", time.Now(), time.Now()) },
		temp,
	}
	for i, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

func temp() error {
	f, err := os.CreateTemp("/out", "t")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func appendTo() error {
	f, err := os.OpenFile("/out/a/two", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteString("tail"); err != nil {
		return err
	}
	return f.Close()
}

func seekAround() error {
	f, err := os.OpenFile("/out/a/two", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte("AB"), 0); err != nil {
		return err
	}
	if err := f.Truncate(9); err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte{0, 0}, 2); err != nil {
		return err
	}
	if _, err := f.Seek(-4, io.SeekEnd); err != nil {
		return err
	}
	rest, err := io.ReadAll(f)
	if err != nil || string(rest) != "tail" {
		return fmt.Errorf("read %q, %w", rest, err)
	}
	return f.Close()
}

func expect(path, want string) error {
	got, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if string(got) != want {
		return fmt.Errorf("%s holds %q, expected %q", path, got, want)
	}
	return nil
}

// escape tries to reach what is not there, and succeeds if it fails.
func escape([]string) error {
	for _, path := range []string{"/etc/passwd", "/in/../etc/passwd", "/in/../../etc/passwd", "etc/passwd", "/", "/proc/self/environ"} {
		if _, err := os.Open(path); err == nil {
			return fmt.Errorf("opened %s", path)
		}
	}
	refused := map[string]error{
		"symlink":   os.Symlink("/etc/passwd", "/out/link"),
		"link":      os.Link("/in/a.txt", "/out/link"),
		"write":     os.WriteFile("/in/x", nil, 0o666),
		"overwrite": os.WriteFile("/in/a.txt", nil, 0o666),
		"mkdir":     os.Mkdir("/in/d", 0o777),
		"remove":    os.Remove("/in/a.txt"),
		"rename":    os.Rename("/in/a.txt", "/out/a.txt"),
		"backslash": os.WriteFile(`/out/a\b`, nil, 0o666),
		"invalid":   os.WriteFile("/out/a\xff", nil, 0o666),
	}
	for what, err := range refused {
		if err == nil {
			return fmt.Errorf("%s worked", what)
		}
	}
	return nil
}

// garbage makes many small calls, each of which leaves something to collect in the executor.
func garbage([]string) error {
	for i := range 100_000 {
		f, err := os.Create("/out/again")
		if err != nil {
			return fmt.Errorf("after %d: %w", i, err)
		}
		f.WriteString("x")
		f.Close()
	}
	return nil
}
