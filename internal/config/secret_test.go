package config

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

func TestSecretNeverPrints(t *testing.T) {
	s := Server{URL: "https://h", Password: Secret{File: "hunter2", Env: "hunter2", Command: Command{"hunter2"}}}
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "secret", s.Password, "server", s)
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "secret", s.Password, "server", s)
	encoded, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	document, err := yaml.Marshal(map[string]any{"p": s.Password})
	if err != nil {
		t.Fatal(err)
	}
	outs := []string{logged.String(), string(encoded), string(document), s.Password.String(), s.Password.GoString()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		outs = append(outs, fmt.Sprintf(verb, s.Password), fmt.Sprintf(verb, &s.Password), fmt.Sprintf("%+v", s))
	}
	for _, out := range outs {
		if strings.Contains(out, "hunter2") || strings.Contains(out, "68756e746572") {
			t.Errorf("printed: %s", out)
		}
		if !strings.Contains(out, "[secret]") {
			t.Errorf("no [secret] in: %s", out)
		}
	}
}

func TestSecretRead(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("VV_TEST_PASSWORD", " with spaces ")
	t.Setenv("VV_TEST_EMPTY", "")
	for _, tc := range []struct {
		name   string
		secret Secret
		want   string
		err    string
	}{
		{"a file loses one line end", Secret{File: file("a", "hunter2\r\n")}, "hunter2", ""},
		{"a file keeps inner line ends", Secret{File: file("b", "a\nb\n\n")}, "a\nb\n", ""},
		{"a missing file", Secret{File: filepath.Join(dir, "none")}, "", "no such file"},
		{"an empty file", Secret{File: file("c", "\n")}, "", "is empty"},
		{"a huge file", Secret{File: file("d", strings.Repeat("x", maxSecret+1))}, "", "longer than"},
		{"a variable keeps its spaces", Secret{Env: "VV_TEST_PASSWORD"}, " with spaces ", ""},
		{"a variable not set", Secret{Env: "VV_TEST_NONE"}, "", "VV_TEST_NONE is not set"},
		{"an empty variable", Secret{Env: "VV_TEST_EMPTY"}, "", "is empty"},
		{"a command", Secret{Command: Command{"printf", "%s\n", "hunter2"}}, "hunter2", ""},
		{"a command beside the file", Secret{Command: Command{"cat", "a"}, dir: dir}, "hunter2", ""},
		{"a command that fails", Secret{Command: Command{"sh", "-c", "echo hunter2; exit 3"}}, "", "command echo: exit status 3"},
		{"a line that sets a variable", Secret{Command: Command{"sh", "-c", "PIN=hunter2 exit 3"}}, "", "command sh: exit status 3"},
		{"nothing", Secret{}, "", "not configured"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := tc.secret.Read(t.Context())
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("got error %v, want %q", err, tc.err)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v tells the password", err)
			}
		})
	}
}

func TestSecretCommandIsCancelled(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := (Secret{Command: Command{"sleep", "60"}}).Read(ctx); err == nil {
		t.Error("no error")
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("took %s", d)
	}
}
