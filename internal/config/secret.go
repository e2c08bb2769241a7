package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxSecret bounds what is read as a password, in bytes.
const maxSecret = 64 << 10

// A Secret is where a password is read from: a file, a variable of the
// environment or the output of a command. However it is printed, logged or
// encoded, it shows as [secret].
type Secret struct {
	File    string  `yaml:"passwordFile"`
	Env     string  `yaml:"passwordEnv"`
	Command Command `yaml:"passwordCommand"`

	dir string // where Command runs
}

// A Command is a program and its arguments; in the file either a list, or
// a line for the shell.
type Command []string

// UnmarshalYAML takes a list of words, or a string for sh -c.
func (c *Command) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		var line string
		if err := n.Decode(&line); err != nil {
			return err
		}
		if line != "" {
			*c = Command{"sh", "-c", line}
		}
		return nil
	}
	return n.Decode((*[]string)(c))
}

// program is a word that can be shown: it sets no variable, which may hold a
// secret.
var program = regexp.MustCompile(`^[\w./-]+$`)

// name is what errors call a command: its program, of a line for the shell the
// first one.
func (c Command) name() string {
	if len(c) == 3 && c[0] == "sh" && c[1] == "-c" {
		if words := strings.Fields(c[2]); len(words) > 0 && program.MatchString(words[0]) {
			return words[0]
		}
	}
	return c[0]
}

// Read fetches the password, without the line end behind it. Errors tell
// where it was to be read from, never what was read.
func (s Secret) Read(ctx context.Context) (string, error) {
	var (
		value string
		err   error
	)
	switch {
	case s.File != "":
		value, err = readFile(s.File)
	case s.Env != "":
		v, ok := os.LookupEnv(s.Env)
		if !ok {
			return "", fmt.Errorf("password: variable %s is not set", s.Env)
		}
		value = v
	case len(s.Command) > 0:
		value, err = s.run(ctx)
	default:
		return "", errors.New("password: not configured")
	}
	if err != nil {
		return "", err
	}
	value = strings.TrimSuffix(strings.TrimSuffix(value, "\n"), "\r")
	if value == "" {
		return "", fmt.Errorf("password: %s is empty", s.where())
	}
	return value, nil
}

func (s Secret) where() string {
	switch {
	case s.File != "":
		return "file " + s.File
	case s.Env != "":
		return "variable " + s.Env
	default:
		return "output of " + s.Command.name()
	}
}

func readFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("password: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("password: %w", err)
	}
	if len(b) > maxSecret {
		return "", fmt.Errorf("password: %s: longer than %d bytes", path, maxSecret)
	}
	return string(b), nil
}

// run runs the command with the terminal's standard error, so that it can
// ask for a PIN.
func (s Secret) run(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, s.Command[0], s.Command[1:]...)
	cmd.Dir = s.dir
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = 2 * time.Second
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("password: command %s: %w", s.Command.name(), err)
	}
	if len(out) > maxSecret {
		return "", fmt.Errorf("password: command %s: more than %d bytes", s.Command.name(), maxSecret)
	}
	return string(out), nil
}

const hidden = "[secret]"

// String returns [secret].
func (Secret) String() string { return hidden }

// Format prints [secret], whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// GoString returns [secret].
func (Secret) GoString() string { return hidden }

// MarshalJSON returns [secret].
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

// MarshalYAML returns [secret].
func (Secret) MarshalYAML() (any, error) { return hidden, nil }

// LogValue returns [secret].
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }
