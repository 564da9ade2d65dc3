/* SPDX-License-Identifier: MIT
 *
 * The driver where there is no libFuzzer: gives its target every file of the folders, and the files, that are its
 * arguments. That it comes back is the test.
 */
#include <dirent.h>
#include <sys/stat.h>

#include "fuzz.h"

static size_t played;

static void play(const char *path)
{
    struct stat about;
    FILE *file = fopen(path, "rb");
    if (file == NULL || fstat(fileno(file), &about) != 0) {
        perror(path);
        exit(2);
    }
    size_t size = (size_t)about.st_size;
    uint8_t *data = malloc(size + 1);
    if (data == NULL || fread(data, 1, size, file) != size) {
        perror(path);
        exit(2);
    }
    fclose(file);
    fprintf(stderr, "%s\n", path); /* the last line, should this be the one that fails */
    uint8_t *exact = malloc(size); /* of its very size, for the sanitizers */
    if (size > 0 && exact != NULL)
        memcpy(exact, data, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    free(data);
    played++;
}

static void play_folder(const char *folder)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort);
    if (count < 0) {
        perror(folder);
        exit(2);
    }
    for (int i = 0; i < count; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            play(path);
        free(entries[i]);
    }
    free(entries);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        struct stat about;
        if (stat(argv[i], &about) == 0 && S_ISDIR(about.st_mode))
            play_folder(argv[i]);
        else
            play(argv[i]);
    }
    printf("%zu inputs\n", played);
    return played > 0 ? 0 : 1;
}
