// Command guest is the unit and combine program of the scripts.
package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(verb string, args []string) error {
	switch verb {
	case "square":
		return square(args[0])
	case "fail-odd":
		if n, err := strconv.Atoi(args[0]); err != nil || n%2 == 1 {
			return fmt.Errorf("cannot do %s", args[0])
		}
		return square(args[0])
	case "spin-after": // spin-after LAST UNIT
		last, err := strconv.Atoi(args[0])
		n, err2 := strconv.Atoi(args[1])
		for err != nil || err2 != nil || n > last {
		}
		return square(args[1])
	case "cat":
		text, err := os.ReadFile(args[0])
		fmt.Printf("%s", text)
		return err
	case "tree":
		return tree()
	case "sum":
		return sum()
	case "break":
		fmt.Println("as far as it went")
		return fmt.Errorf("cannot combine")
	}
	return fmt.Errorf("unknown verb %s", verb)
}

func square(unit string) error {
	n, err := strconv.Atoi(unit)
	if err != nil {
		return err
	}
	fmt.Println(n * n)
	fmt.Fprintln(os.Stderr, "working on", n)
	if err := os.Mkdir("/out/deep", 0o700); err != nil {
		return err
	}
	return os.WriteFile("/out/deep/square.txt", []byte(strconv.Itoa(n*n)), 0o600)
}

// tree prints every file of /in.
func tree() error {
	return filepath.WalkDir("/in", func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			fmt.Println(name)
		}
		return err
	})
}

// sum adds up what the accepted units wrote.
func sum() error {
	text, err := os.ReadFile("/in/units.json")
	if err != nil {
		return err
	}
	var units []struct {
		Unit   int
		Status string
	}
	if err := json.Unmarshal(text, &units); err != nil {
		return err
	}
	total, accepted := 0, 0
	for _, u := range units {
		if u.Status != "accepted" {
			continue
		}
		text, err := os.ReadFile(fmt.Sprintf("/in/units/%06d/out/deep/square.txt", u.Unit))
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(string(text))
		if err != nil {
			return err
		}
		total, accepted = total+n, accepted+1
	}
	fmt.Printf("sum of %d: %d\n", accepted, total)
	return os.WriteFile("/out/sum.txt", []byte(strconv.Itoa(total)), 0o600)
}
