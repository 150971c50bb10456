#include <stdio.h>
#include <string.h>

/* Counts the lines of a text, the last one too if it has no end. */
static size_t lines(const char *text)
{
    size_t count = 0;
    while (*text)
        if (*text++ == '\n')
            count++;
    return count + 1;
}

int main(int argc, char **argv)
{
    static const int zero[3][3] = {
        {0, 0, 0},
        {0, 0, 0},
        {0, 0, 0},
    };
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--zero") == 0)
            printf("%d\n", zero[0][0]);
        else {
            printf("%zu %s\n", lines(argv[i]), argv[i]);
        }
    }
    return 0;
}
