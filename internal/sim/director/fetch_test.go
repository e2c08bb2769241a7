package director_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

var sizes = regexp.MustCompile(`ovf:size="(\d+)"`)

// TestPackagesThatAreFetched makes templates of what lies on a web server.
func TestPackagesThatAreFetched(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	s := c.shelf()
	ada := c.login("ada@acme")
	ada.run(http.MethodPost, s.path()+"/action/enableDownload", "", "")
	d := ada.get(s.path())
	p := ada.fetch(d, "download:default")
	ova := ada.send(http.MethodGet, d.FindElement("./Link[@rel='download:ovaDefault']").SelectAttrValue("href", ""), nil, nil).body

	web := map[string][]byte{
		"/flat/x.ovf": p.descriptor, "/x.ova": ova, "/broken.ova": []byte("no archive"), "/lonely/x.ovf": p.descriptor, "/short/x.ovf": p.descriptor,
		"/pieces/x.ovf": sizes.ReplaceAll(p.descriptor, []byte(`ovf:size="$1" ovf:chunkSize="1000"`)), "/flat/none.ovf": []byte("<x/>"),
		"/flat/x.mf": []byte("SHA1(x.ovf)= " + strings.Repeat("0", 40) + "\n"), "/empty.ova": archive(t, "readme.txt"),
	}
	for name, body := range p.disks {
		web["/flat/"+name], web["/short/"+name] = body, body[:len(body)-1]
		for n := 0; n*1000 < len(body); n++ {
			web[fmt.Sprintf("/pieces/%s.%09d", name, n)] = body[n*1000 : min(len(body), n*1000+1000)]
		}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, found := web[r.URL.Path]; found {
			_, _ = w.Write(body)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(server.Close)

	for i, tc := range []struct{ name, path, more, failure string }{
		{"a descriptor and its files", "/flat/x.ovf", "", ""},
		{"all in one file", "/x.ova", "", ""},
		{"disks in pieces", "/pieces/x.ovf", "", ""},
		{"with a manifest of something else", "/flat/x.ovf", ` manifestRequired="true"`, "checksum"},
		{"without the manifest", "/pieces/x.ovf", ` manifestRequired="true"`, "404"},
		{"nothing there", "/x.ovf", "", "404"},
		{"no descriptor", "/flat/none.ovf", "", "descriptor"},
		{"without its disks", "/lonely/x.ovf", "", "404"},
		{"disks that are too short", "/short/x.ovf", "", "bytes"},
		{"no archive", "/broken.ova", "", "archive"},
		{"an archive of something else", "/empty.ova", "", "no file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tmpl := ada.begin(s, fmt.Sprint("fetched ", i), ` sourceHref="`+server.URL+tc.path+`"`+tc.more)
			if f := ada.get(tmpl).FindElement("./Files/File"); f != nil {
				t.Errorf("a file is waited for: %s", write(f))
			}
			d := ada.settled(tmpl)
			if tc.failure == "" {
				if d.SelectAttrValue("status", "") != "8" || children(d, "./Children/Vm") != 2 {
					t.Errorf("got %s", write(d))
				}
				return
			}
			if e := d.FindElement("./Tasks/Task/Error"); d.SelectAttrValue("status", "") != "-1" || e == nil || !strings.Contains(e.SelectAttrValue("message", ""), tc.failure) {
				t.Errorf("got %s", write(d))
			}
		})
	}
}

// archive is a tar file of empty files.
func archive(t *testing.T, names ...string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
