package director

import (
	"bufio"
	"context"
	"crypto/sha1" // #nosec: what manifests hold
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/vappvault/vappvault/internal/sim/ovf"
)

// cancelUpload gives up an upload; its task ends by itself.
func (s *Server) cancelUpload(t *transfer) {
	if t == nil {
		return
	}
	if task := s.tasks[t.task]; task != nil && !task.over() {
		task.cancelRequested = true
		task.cancel()
	}
}

// uploadToCatalog begins the upload of a template or of a medium.
func (c *call) uploadToCatalog() (*answer, error) {
	k, err := c.ownCatalog()
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(c.r.Header.Get("Content-Type"), mediaVCloud+"media+xml") {
		m, err := c.uploadMedia(k, nil)
		if err != nil {
			return nil, err
		}
		return c.createdItem(m.item), nil
	}
	if err := c.checkType(route{takes: mediaVCloud + "uploadVAppTemplateParams"}); err != nil {
		return nil, err
	}
	t, err := c.uploadTemplate(k, nil)
	if err != nil {
		return nil, err
	}
	return c.createdItem(t.item), nil
}

func (c *call) uploadTemplateToVDC() (*answer, error) {
	v, err := c.theVDC()
	if err != nil {
		return nil, err
	}
	t, err := c.uploadTemplate(nil, v)
	if err != nil {
		return nil, err
	}
	return c.createdTemplate(t), nil
}

func (c *call) uploadMediaToVDC() (*answer, error) {
	v, err := c.theVDC()
	if err != nil {
		return nil, err
	}
	m, err := c.uploadMedia(nil, v)
	if err != nil {
		return nil, err
	}
	return c.createdMedia(m), nil
}

// uploadPlace is where an upload will live: the VDC of the path, or what the
// catalog says, on the storage profile that the body names.
func (c *call) uploadPlace(k *catalog, v *vdc, doc *node) (*vdc, *profile, error) {
	var p *profile
	var err error
	if k != nil {
		v, p, err = c.placeOf(k, "", "")
	} else if p = c.s.profileNamed(v, ""); p == nil {
		err = badRequest("The VDC %s has no storage profile.", v.name)
	}
	if err != nil {
		return nil, nil, err
	}
	if sp := child(doc, "VdcStorageProfile"); sp != nil {
		p = c.s.profiles[uuidIn(attr(sp, "href"))]
		if p == nil || c.s.vdcs[p.vdc].org != v.org || k == nil && p.vdc != v.id {
			return nil, nil, badRequest("The storage profile %s does not exist here.", attr(sp, "href"))
		}
		v = c.s.vdcs[p.vdc]
	}
	if !v.enabled {
		return nil, nil, badRequest("The VDC %s is disabled.", v.name)
	}
	return v, p, nil
}

func (c *call) uploadTemplate(k *catalog, v *vdc) (*vappTemplate, error) {
	doc, err := c.parse(nsVCloud, "UploadVAppTemplateParams")
	if err != nil {
		return nil, err
	}
	if f := attr(doc, "transferFormat"); f != "" && f != "application/vnd.vmware.vcloud.ovf+xml" {
		return nil, badRequest("The transfer format %q is not supported.", f)
	}
	name := attr(doc, "name")
	if err := checkName(name); err != nil {
		return nil, err
	}
	if k != nil && k.itemNamed(name) != nil {
		return nil, nameTaken("The catalog %q has an item named %q already.", k.name, name)
	}
	v, p, err := c.uploadPlace(k, v, doc)
	if err != nil {
		return nil, err
	}
	var from *remote
	if href := attr(doc, "sourceHref"); href != "" {
		if from, err = c.s.remoteAt(href); err != nil {
			return nil, err
		}
	}
	t := c.emptyTemplate(k, v, p, name, raw(doc, "Description"))
	c.s.keepTemplate(k, t)
	t.upload = c.newTransfer(true, descriptorName)
	if from != nil {
		from.up, t.upload.fetched = t.upload, true
	}
	t.upload.manifest = truth(attr(doc, "manifestRequired"))
	task := c.start("vdcUploadOvfContents", "Importing Virtual Application Template", vappOwner(t.content), func(ctx context.Context) error {
		return c.s.uploaded(t, c.importUpload(ctx, t, from))
	})
	t.upload.task = task.id
	return t, nil
}

// uploaded ends the upload of a template, which is whole or stays failed.
func (s *Server) uploaded(t *vappTemplate, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.content.status = stateResolved; err != nil {
		t.content.status = stateFailed
	}
	s.endTransfer(t.upload)
	t.upload = nil
	return err
}

// importUpload waits for the files of a package, or fetches them, and imports
// them.
func (c *call) importUpload(ctx context.Context, t *vappTemplate, from *remote) error {
	s, up := c.s, t.upload
	if err := s.arrive(ctx, up, from, up.files[:1]); err != nil {
		return err
	}
	text, err := os.ReadFile(up.files[0].path)
	if err != nil {
		return err
	}
	e, err := ovf.Parse(text)
	if err != nil {
		return refuse(http.StatusBadRequest, "INVALID_OVF", "The OVF descriptor of %q cannot be imported: %s", t.content.name, err)
	}
	s.mu.Lock()
	for _, f := range e.Files {
		up.files = append(up.files, &transferFile{name: f.Href, size: f.Size, chunk: f.ChunkSize})
	}
	if up.manifest {
		up.files = append(up.files, &transferFile{name: manifestName, size: -1})
	}
	s.mu.Unlock()
	if err := s.arrive(ctx, up, from, up.files); err != nil {
		return err
	}
	if up.manifest {
		if err := checkManifest(up); err != nil {
			return err
		}
	}
	return c.importEnvelope(ctx, t, e)
}

// arrive returns when files of an upload are there.
func (s *Server) arrive(ctx context.Context, up *transfer, from *remote, files []*transferFile) error {
	if from == nil {
		return s.await(ctx, up, func() (bool, error) {
			return !slices.ContainsFunc(files, func(f *transferFile) bool { return !f.done }), nil
		})
	}
	for _, f := range files {
		if f.done {
			continue
		}
		if err := from.get(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

var manifestLine = regexp.MustCompile(`^(SHA1|SHA256|SHA512)\s*\(([^)]*)\)\s*=\s*([0-9a-fA-F]+)\s*$`)

// checkManifest compares the files of an upload with its manifest (DSP0243, 5.1).
func checkManifest(t *transfer) error {
	bad := func(format string, args ...any) error {
		return refuse(http.StatusBadRequest, "INVALID_OVF_MANIFEST", format, args...)
	}
	mf := t.file(manifestName)
	in, err := os.Open(mf.path)
	if err != nil {
		return err
	}
	defer in.Close()
	listed := map[string]bool{}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		m := manifestLine.FindStringSubmatch(lines.Text())
		if m == nil {
			return bad("The manifest has a line that is not understood: %.80q", lines.Text())
		}
		f := t.file(m[2])
		if f == nil && strings.HasSuffix(m[2], ".ovf") {
			f = t.files[0] // under the name that it has at the client's
		}
		if f == nil {
			return bad("The manifest names the file %s, which the package does not have.", m[2])
		}
		sum, err := sumOf(f.path, m[1])
		if err != nil {
			return err
		}
		if !strings.EqualFold(sum, m[3]) {
			return bad("The checksum of file %s is %s, not %s as the manifest says.", f.name, sum, m[3])
		}
		listed[f.name] = true
	}
	if err := lines.Err(); err != nil {
		return bad("The manifest cannot be read: %s", err)
	}
	for _, f := range t.files {
		if !listed[f.name] && f != mf {
			return bad("The manifest does not name the file %s.", f.name)
		}
	}
	return nil
}

func sumOf(path, algorithm string) (string, error) {
	var h hash.Hash
	switch algorithm {
	case "SHA256":
		h = sha256.New()
	case "SHA512":
		h = sha512.New()
	default:
		h = sha1.New()
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), errors.Join(err, f.Close())
}

// uploadMedia begins the upload of an image.
func (c *call) uploadMedia(k *catalog, v *vdc) (*media, error) {
	doc, err := c.parse(nsVCloud, "Media")
	if err != nil {
		return nil, err
	}
	name, image := attr(doc, "name"), attr(doc, "imageType")
	if err := checkName(name); err != nil {
		return nil, err
	}
	if !slices.Contains([]string{"iso", "floppy"}, image) {
		return nil, badRequest("The image type %q is not iso or floppy.", image)
	}
	var size int64
	if _, err := fmt.Sscan(attr(doc, "size"), &size); err != nil || size <= 0 {
		return nil, badRequest("The size %q is not a number of bytes.", attr(doc, "size"))
	}
	if k != nil && k.itemNamed(name) != nil {
		return nil, nameTaken("The catalog %q has an item named %q already.", k.name, name)
	}
	v, p, err := c.uploadPlace(k, v, doc)
	if err != nil {
		return nil, err
	}
	m := c.newMedia(v, p, name, raw(doc, "Description"))
	m.image, m.size = image, size
	if k != nil {
		m.item = c.s.newItem(k, "", name, m.desc)
		m.item.media = m
	}
	m.upload = c.newTransfer(true, "file")
	m.upload.files[0].size = size
	task := c.start("vdcUploadMedia", "Importing Media", mediaOwner(m), func(ctx context.Context) error {
		err := c.s.importMedia(ctx, m)
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		if m.status = stateResolved; err != nil {
			m.status = stateFailed
		}
		c.s.endTransfer(m.upload)
		m.upload = nil
		return err
	})
	m.upload.task = task.id
	return m, nil
}

func (s *Server) importMedia(ctx context.Context, m *media) error {
	up := m.upload
	if err := s.await(ctx, up, func() (bool, error) { return up.whole(), nil }); err != nil {
		return err
	}
	f, err := os.Open(up.files[0].path)
	if err != nil {
		return err
	}
	file, err := s.storeMedia(ctx, m, f)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m.file = file
	return nil
}
