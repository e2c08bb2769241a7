package director_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/sim/director"
	"github.com/vappvault/vappvault/internal/sim/ovf"
)

// send puts or gets bytes at an address of the transfer service.
func (u *user) send(method, href string, header map[string]string, body []byte) *reply {
	u.c.t.Helper()
	req := must(http.NewRequest(method, href, bytes.NewReader(body)))(u.c.t)
	if u.token != "" {
		req.Header.Set("Authorization", "Bearer "+u.token)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	return u.c.send(req)
}

func (u *user) piece(status int, href, contentRange string, body []byte) *reply {
	u.c.t.Helper()
	h := map[string]string{}
	if contentRange != "" {
		h["Content-Range"] = contentRange
	}
	r := u.send(http.MethodPut, href, h, body)
	if r.status != status {
		u.c.t.Fatalf("PUT %s: got %d, want %d: %s", href, r.status, status, r.body)
	}
	return r
}

// begin starts the upload of a template and returns its address.
func (u *user) begin(s shelf, name, more string) string {
	u.c.t.Helper()
	r := u.want(http.StatusCreated, http.MethodPost, "/api/catalog/"+s.catalog+"/action/upload", cloudType+"uploadVAppTemplateParams+xml",
		`<UploadVAppTemplateParams `+vcd+` name="`+name+`"`+more+`><Description>sent</Description></UploadVAppTemplateParams>`)
	return r.root(u.c.t).SelectElement("Entity").SelectAttrValue("href", "")
}

// files waits until a template lists so many files, and returns their links.
func (u *user) files(template string, n int) map[string]*etree.Element {
	u.c.t.Helper()
	var d *etree.Element
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		d = u.get(template)
		list := d.FindElements("./Files/File")
		if len(list) < n {
			continue
		}
		out := map[string]*etree.Element{}
		for _, f := range list {
			out[f.SelectAttrValue("name", "")] = f
		}
		return out
	}
	u.c.t.Fatalf("no %d files: %s", n, write(d))
	return nil
}

func address(f *etree.Element) string {
	return f.SelectElement("Link").SelectAttrValue("href", "")
}

// settled waits until nothing works on a template any more.
func (u *user) settled(template string) *etree.Element {
	u.c.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		d := u.get(template)
		if d.SelectAttrValue("status", "") != "0" && d.FindElement("./Tasks/Task[@status='running']") == nil {
			return d
		}
	}
	u.c.t.Fatal("it does not end")
	return nil
}

// A parcel is a package as it was downloaded.
type parcel struct {
	descriptor []byte
	disks      map[string][]byte
}

func (u *user) fetch(d *etree.Element, rel string) parcel {
	u.c.t.Helper()
	href := d.FindElement("./Link[@rel='"+rel+"']").SelectAttrValue("href", "")
	p := parcel{u.send(http.MethodGet, href, nil, nil).body, map[string][]byte{}}
	e := must(ovf.Parse(p.descriptor))(u.c.t)
	for _, f := range e.Files {
		p.disks[f.Href] = u.send(http.MethodGet, href[:strings.LastIndex(href, "/")+1]+f.Href, nil, nil).body
		if int64(len(p.disks[f.Href])) != f.Size {
			u.c.t.Errorf("%s: %d bytes, the descriptor says %d", f.Href, len(p.disks[f.Href]), f.Size)
		}
	}
	return p
}

func TestDownloadAndUpload(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	s := c.shelf()
	ada, bob := c.login("ada@acme"), c.login("bob@acme")

	if ada.get(s.path()).FindElement("./Link[@rel='download:default']") != nil {
		t.Error("it is enabled for download")
	}
	ada.run(http.MethodPost, s.path()+"/action/enableDownload", "", "")
	d := ada.get(s.path())
	p := ada.fetch(d, "download:default")
	href := d.FindElement("./Link[@rel='download:default']").SelectAttrValue("href", "")
	var disk string
	for name := range p.disks {
		disk = name
	}

	t.Run("disks are stream-optimized VMDKs", func(t *testing.T) {
		if _, err := exec.LookPath("qemu-img"); err != nil {
			t.Skip("no qemu-img")
		}
		file := filepath.Join(t.TempDir(), "disk.vmdk")
		if err := os.WriteFile(file, p.disks[disk], 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("qemu-img", "convert", "-f", "vmdk", "-O", "raw", file, file+".raw").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if fi := must(os.Stat(file + ".raw"))(t); fi.Size() != 1<<20 {
			t.Errorf("%d bytes", fi.Size())
		}
	})
	t.Run("identity is only in the descriptor that has it", func(t *testing.T) {
		id := ada.fetch(d, "download:identity")
		if !bytes.Contains(id.descriptor, []byte("NetworkConfigSection")) || bytes.Contains(p.descriptor, []byte("NetworkConfigSection")) || bytes.Contains(p.descriptor, []byte("00:50:56")) {
			t.Errorf("default: %s", p.descriptor)
		}
	})
	t.Run("a package comes in one file, descriptor first", func(t *testing.T) {
		r := ada.send(http.MethodGet, d.FindElement("./Link[@rel='download:ovaDefault']").SelectAttrValue("href", ""), nil, nil)
		in := tar.NewReader(bytes.NewReader(r.body))
		var names []string
		for {
			h, err := in.Next()
			if err == io.EOF {
				break
			}
			names = append(names, must(h, err)(t).Name)
		}
		if len(names) != 3 || names[0] != "descriptor.ovf" {
			t.Errorf("got %v", names)
		}
	})
	t.Run("ranges are answered, and those beyond the end refused", func(t *testing.T) {
		at := href[:strings.LastIndex(href, "/")+1] + disk
		if r := ada.send(http.MethodGet, at, map[string]string{"Range": "bytes=100-199"}, nil); r.status != http.StatusPartialContent || !bytes.Equal(r.body, p.disks[disk][100:200]) {
			t.Errorf("%d, %d bytes", r.status, len(r.body))
		}
		if r := ada.send(http.MethodGet, at, map[string]string{"Range": "bytes=99999999-"}, nil); r.status != http.StatusRequestedRangeNotSatisfiable {
			t.Errorf("%d", r.status)
		}
	})
	t.Run("nobody downloads without a session of somebody who may", func(t *testing.T) {
		for u, want := range map[*user]int{{c, "", ""}: http.StatusUnauthorized, bob: http.StatusForbidden} {
			if r := u.send(http.MethodGet, href, nil, nil); r.status != want {
				t.Errorf("got %d, want %d", r.status, want)
			}
		}
		if r := ada.send(http.MethodDelete, href, nil, nil); r.status != http.StatusMethodNotAllowed {
			t.Errorf("DELETE: %d", r.status)
		}
	})
	t.Run("what was downloaded is uploaded again", func(t *testing.T) {
		tmpl := ada.begin(s, "again", "")
		first := ada.files(tmpl, 1)
		if len(first) != 1 || first["descriptor.ovf"] == nil || ada.get(tmpl).SelectAttrValue("ovfDescriptorUploaded", "") != "false" {
			t.Fatalf("got %v", first)
		}
		ada.piece(http.StatusOK, address(first["descriptor.ovf"]), "", p.descriptor)
		list := ada.files(tmpl, 3)
		for name, body := range p.disks {
			at, n := address(list[name]), len(body)
			if list[name].SelectAttrValue("size", "") != fmt.Sprint(n) || list[name].SelectAttrValue("bytesTransferred", "") != "0" {
				t.Errorf("got %s", write(list[name]))
			}
			r := ada.piece(http.StatusRequestedRangeNotSatisfiable, at, fmt.Sprintf("bytes 10-%d/%d", n-1, n), body[10:])
			if r.header.Get("Range") != "" {
				t.Errorf("Range: %s", r.header.Get("Range"))
			}
			ada.piece(http.StatusOK, at, fmt.Sprintf("bytes 0-999/%d", n), body[:1000])
			if got := ada.files(tmpl, 3)[name].SelectAttrValue("bytesTransferred", ""); got != "1000" {
				t.Errorf("%s bytes have arrived", got)
			}
			r = ada.piece(http.StatusRequestedRangeNotSatisfiable, at, fmt.Sprintf("bytes 0-999/%d", n), body[:1000])
			if r.header.Get("Range") != "bytes=0-999" {
				t.Errorf("Range: %s", r.header.Get("Range"))
			}
			ada.piece(http.StatusBadRequest, at, fmt.Sprintf("bytes 1000-1999/%d", n+1), body[1000:2000])
			ada.piece(http.StatusBadRequest, at, "bytes 1000-1999", body[1000:2000])
			ada.piece(http.StatusBadRequest, at, fmt.Sprintf("bytes 1000-1999/%d", n), body[1000:1999])
			ada.piece(http.StatusBadRequest, at, "", append(bytes.Clone(body), 0))
			if r := bob.send(http.MethodPut, at, nil, body); r.status != http.StatusForbidden {
				t.Errorf("bob: %d", r.status)
			}
			ada.piece(http.StatusOK, at, fmt.Sprintf("bytes 1000-%d/%d", n-1, n), body[1000:])
		}
		d := ada.settled(tmpl)
		if d.SelectAttrValue("status", "") != "8" || children(d, "./Children/Vm") != 2 || d.FindElement("./Files") != nil {
			t.Fatalf("got %s", write(d))
		}
		if v := textAt(d, "./Children/Vm[@name='one']/NetworkConnectionSection/NetworkConnection/IpAddressAllocationMode"); v != "POOL" {
			t.Errorf("mode %q", v)
		}
		ada.run(http.MethodPost, strings.TrimPrefix(tmpl, c.dir.URL().String())+"/action/enableDownload", "", "")
		again := ada.fetch(ada.get(tmpl), "download:default")
		if len(again.disks) != len(p.disks) {
			t.Errorf("%d disks", len(again.disks))
		}
	})
	t.Run("a download ends when it is disabled", func(t *testing.T) {
		ada.want(http.StatusNoContent, http.MethodPost, s.path()+"/action/disableDownload", "", "")
		if r := ada.send(http.MethodGet, href, nil, nil); r.status != http.StatusNotFound {
			t.Errorf("got %d", r.status)
		}
	})
	t.Run("a vApp is downloaded only while it is off", func(t *testing.T) {
		ada.run(http.MethodPost, c.vappPath()+"/action/enableDownload", "", "")
		ada.fetch(ada.get(c.vappPath()), "download:identity")
		if r := ada.want(http.StatusOK, http.MethodGet, c.vappPath()+"/ovf", "", ""); !bytes.Contains(r.body, []byte("vmw:osType")) {
			t.Errorf("got %s", r.body)
		}
		ada.run(http.MethodPost, c.vappPath()+"/power/action/powerOn", "", "")
		for _, path := range []string{"/ovf", "/action/enableDownload"} {
			method := http.MethodPost
			if path == "/ovf" {
				method = http.MethodGet
			}
			if r := ada.want(http.StatusBadRequest, method, c.vappPath()+path, "", ""); r.code() != "INVALID_STATE" {
				t.Errorf("%s: %s", path, r.code())
			}
		}
	})
	t.Run("with a manifest, its sums count", func(t *testing.T) {
		sum := func(b []byte) string { h := sha256.Sum256(b); return hex.EncodeToString(h[:]) }
		for name, want := range map[string]string{"right": "8", "wrong": "-1", "short": "-1"} {
			tmpl := ada.begin(s, name, ` manifestRequired="true"`)
			ada.piece(http.StatusOK, address(ada.files(tmpl, 1)["descriptor.ovf"]), "", p.descriptor)
			list := ada.files(tmpl, 4)
			mf := "SHA256(my.ovf)= " + sum(p.descriptor) + "\n"
			for file, body := range p.disks {
				ada.piece(http.StatusOK, address(list[file]), "", body)
				if name == "wrong" {
					body = body[1:]
				}
				if name != "short" {
					mf += "SHA256(" + file + ")= " + sum(body) + "\n"
				}
			}
			ada.piece(http.StatusOK, address(list["manifest.mf"]), "", []byte(mf))
			d := ada.settled(tmpl)
			if got := d.SelectAttrValue("status", ""); got != want {
				t.Errorf("%s: status %s", name, got)
			}
			if want == "-1" && d.FindElement("./Tasks/Task/Error") == nil {
				t.Errorf("%s: it does not say why: %s", name, write(d))
			}
		}
	})
}

func TestUploadThatFails(t *testing.T) {
	t.Parallel()
	c := newCloud(t, func(cfg *director.Config) { cfg.TransferTimeout = 700 * time.Millisecond })
	s := c.shelf()
	ada := c.login("ada@acme")
	small := `<ovf:Envelope xmlns:ovf="` + ovf.NS + `" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">` +
		`<ovf:References><ovf:File ovf:id="f" ovf:href="d.vmdk" ovf:size="5"/></ovf:References><ovf:DiskSection><ovf:Info/><ovf:Disk ovf:diskId="d" ovf:fileRef="f" ovf:capacity="1048576"/></ovf:DiskSection>` +
		`<ovf:VirtualSystem ovf:id="vm"><ovf:Info/><ovf:VirtualHardwareSection><ovf:Info/><ovf:Item><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>6</rasd:ResourceType></ovf:Item>` +
		`<ovf:Item><rasd:HostResource>ovf:/disk/d</rasd:HostResource><rasd:InstanceID>2</rasd:InstanceID><rasd:Parent>1</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></ovf:Item>` +
		`</ovf:VirtualHardwareSection></ovf:VirtualSystem></ovf:Envelope>`
	failed := func(tmpl, why string) {
		t.Helper()
		d := ada.settled(tmpl)
		e := d.FindElement("./Tasks/Task/Error")
		if d.SelectAttrValue("status", "") != "-1" || e == nil || !strings.Contains(e.SelectAttrValue("message", ""), why) {
			t.Errorf("got %s", write(d))
		}
		ada.run(http.MethodDelete, strings.TrimPrefix(tmpl, c.dir.URL().String()), "", "")
		ada.want(http.StatusForbidden, http.MethodGet, tmpl, "", "")
	}
	t.Run("a descriptor that is none", func(t *testing.T) {
		tmpl := ada.begin(s, "a", "")
		ada.piece(http.StatusOK, address(ada.files(tmpl, 1)["descriptor.ovf"]), "", []byte("<Envelope/>"))
		failed(tmpl, "OVF descriptor")
	})
	t.Run("a disk that is none: vCenter refuses it, and nothing is left there", func(t *testing.T) {
		tmpl := ada.begin(s, "b", "")
		ada.piece(http.StatusOK, address(ada.files(tmpl, 1)["descriptor.ovf"]), "", []byte(small))
		ada.piece(http.StatusOK, address(ada.files(tmpl, 2)["d.vmdk"]), "", []byte("vmdk?"))
		failed(tmpl, "d.vmdk")
	})
	t.Run("an upload that nobody goes on with", func(t *testing.T) {
		tmpl := ada.begin(s, "c", "")
		at := address(ada.files(tmpl, 1)["descriptor.ovf"])
		failed(tmpl, "idle")
		ada.piece(http.StatusNotFound, at, "", []byte(small))
	})
	t.Run("an upload whose task is canceled", func(t *testing.T) {
		tmpl := ada.begin(s, "d", "")
		task := ada.get(tmpl).FindElement("./Tasks/Task").SelectAttrValue("href", "")
		ada.want(http.StatusNoContent, http.MethodPost, task+"/action/cancel", "", "")
		if d := ada.settled(tmpl); d.SelectAttrValue("status", "") != "-1" {
			t.Errorf("got %s", write(d))
		}
	})
	t.Run("an upload that is deleted", func(t *testing.T) {
		tmpl := ada.begin(s, "e", "")
		ada.run(http.MethodDelete, strings.TrimPrefix(tmpl, c.dir.URL().String()), "", "")
		ada.want(http.StatusForbidden, http.MethodGet, tmpl, "", "")
	})
	for _, bad := range []struct{ name, typ, body, code string }{
		{"a name that is taken", "uploadVAppTemplateParams+xml", `<UploadVAppTemplateParams ` + vcd + ` name="debian"/>`, "DUPLICATE_NAME"},
		{"a format that nobody knows", "uploadVAppTemplateParams+xml", `<UploadVAppTemplateParams ` + vcd + ` name="x" transferFormat="zip"/>`, "BAD_REQUEST"},
		{"a source that nobody can fetch", "uploadVAppTemplateParams+xml", `<UploadVAppTemplateParams ` + vcd + ` name="x" sourceHref="file:///x.ovf"/>`, "BAD_REQUEST"},
		{"an image without a size", "media+xml", `<Media ` + vcd + ` name="x" imageType="iso" size="0"/>`, "BAD_REQUEST"},
		{"an image of another type", "media+xml", `<Media ` + vcd + ` name="x" imageType="tape" size="1"/>`, "BAD_REQUEST"},
	} {
		t.Run("refused: "+bad.name, func(t *testing.T) {
			if r := ada.want(http.StatusBadRequest, http.MethodPost, "/api/catalog/"+s.catalog+"/action/upload", cloudType+bad.typ, bad.body); r.code() != bad.code {
				t.Errorf("got %s", r.code())
			}
		})
	}
}

func TestMediaTransfer(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	s := c.shelf()
	ada := c.login("ada@acme")
	image := bytes.Repeat([]byte("iso9660 "), 1<<12)
	r := ada.want(http.StatusCreated, http.MethodPost, "/api/catalog/"+s.catalog+"/action/upload", cloudType+"media+xml",
		fmt.Sprintf(`<Media %s name="new.iso" imageType="iso" size="%d"/>`, vcd, len(image)))
	href := r.root(t).SelectElement("Entity").SelectAttrValue("href", "")
	at := address(ada.get(href).FindElement("./Files/File"))
	ada.piece(http.StatusBadRequest, at, "", append(bytes.Clone(image), 1))
	ada.piece(http.StatusOK, at, "", image)
	if d := ada.settled(href); d.SelectAttrValue("status", "") != "1" {
		t.Fatalf("got %s", write(d))
	}
	path := strings.TrimPrefix(href, c.dir.URL().String())
	ada.run(http.MethodPost, path+"/action/enableDownload", "", "")
	file := ada.get(href).FindElement("./Files/File/Link[@rel='download:default']").SelectAttrValue("href", "")
	if r := ada.send(http.MethodGet, file, map[string]string{"Range": "bytes=-0"}, nil); r.status != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("the last 0 bytes: got %d, want 416", r.status)
	}
	if r := ada.send(http.MethodGet, file, map[string]string{"Range": "bytes=-8"}, nil); r.status != http.StatusPartialContent || string(r.body) != "iso9660 " {
		t.Errorf("the last 8 bytes: got %d %s", r.status, r.body)
	}
	got := ada.send(http.MethodGet, file, nil, nil)
	if !bytes.Equal(got.body, image) {
		t.Errorf("%d bytes came back", len(got.body))
	}
	ada.want(http.StatusNoContent, http.MethodPost, path+"/action/disableDownload", "", "")
	ada.run(http.MethodDelete, path, "", "")
}
