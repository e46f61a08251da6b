/* The exported C, asked by `./dev anywhere`: main IMAGES ANSWERS TIMED. */
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "network.c"

static int rising(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double microseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

int main(int count, char **arguments) {
    FILE *images = count == 4 ? fopen(arguments[1], "rb") : NULL, *answers = count == 4 ? fopen(arguments[2], "wb") : NULL;
    int timed = count == 4 ? atoi(arguments[3]) : 0, place = 0;
    double *times = malloc(sizeof *times * (size_t)(timed + 1));
    uint8_t pixels[QNN_INPUTS];
    volatile int answer;
    if (images == NULL || answers == NULL || times == NULL || timed < 1) return 1;
    while (fread(pixels, 1, sizeof pixels, images) == sizeof pixels) {
        double began = microseconds();
        answer = qnn_predict(pixels);
        if (place < timed) times[place++] = microseconds() - began;
        fputc(answer, answers);
    }
    fclose(answers);
    qsort(times, (size_t)place, sizeof *times, rising);
    printf("{\"c\": %g}\n", times[place / 2]);
    return 0;
}
